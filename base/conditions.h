// Conditions: the stable codes by which every fault is visible (SPOOL_FULL, BLOB_AUTH, …).
//
// A component raises a condition with evidence and clears it when the fault is over; the appliance
// shows them as causeway_conditions{code}, in `causeway status` and as events. Thread-safe.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cw {

struct Condition {
    Errc code;
    std::string subject;  // "cache", "machine 6ba7…", "vault": what it is about.
    std::string detail;
    Nanos since_boot;
    WallMicros since_wall;
    std::uint64_t count = 1;  // How often it was raised while it stood.
};

struct ConditionEvent {
    Condition condition;
    bool raised;  // false: cleared
    WallMicros at;
};

// What happened from a running number on.
struct ConditionNews {
    std::vector<ConditionEvent> events;  // Oldest first.
    std::uint64_t next = 0;              // What to ask for the next time.
    std::uint64_t missed = 0;            // Not kept until they were asked for.
};

class Conditions {
public:
    explicit Conditions(Clock& clock) : clock_(clock) {}
    // Raising again updates the evidence and counts.
    void raise(Errc code, std::string subject, std::string detail);
    void clear(Errc code, const std::string& subject);
    [[nodiscard]] bool standing(Errc code) const;
    [[nodiscard]] std::vector<Condition> list() const;
    // The newest `max` of at most 4,096 kept events, oldest first.
    [[nodiscard]] std::vector<ConditionEvent> events(std::size_t max) const;
    // The event with running number `from` (the first has 0), and those after it.
    [[nodiscard]] ConditionNews news(std::uint64_t from) const;

private:
    void note(ConditionEvent event);  // With mutex_.

    Clock& clock_;
    mutable std::mutex mutex_;
    std::map<std::pair<Errc, std::string>, Condition> standing_;
    std::deque<ConditionEvent> events_;
    std::uint64_t forgotten_ = 0;  // The running number of events_.front().
};

}  // namespace cw
