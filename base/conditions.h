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

private:
    Clock& clock_;
    mutable std::mutex mutex_;
    std::map<std::pair<Errc, std::string>, Condition> standing_;
    std::deque<ConditionEvent> events_;
};

}  // namespace cw
