// EventLog: the conditions that were raised and cleared in the last 72 hours, whatever became of
// the process meanwhile.
//
// A file of lines (event_line.h) that tick() appends to, durably; when it is full it becomes PATH.1
// in place of the one before, so that a storm of events takes twice `file_bytes_max` and no more.
// What a power cut tears is at the end of the file and dropped. Other damage is told as a
// condition, never an error: the lines around it are kept. What still stood when a process ended is
// noted as cleared by the next one, which judges anew.
//
// Thread-safety: all functions from any thread.
#pragma once

#include "appliance/standing_trouble.h"
#include "base/conditions.h"
#include "base/disk.h"
#include "base/ids.h"

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cw::appliance {

class EventLog {
public:
    static constexpr std::size_t file_bytes_max = 4 * mib;
    static constexpr std::size_t kept_max = 16'384;  // In memory: what events() has to choose from.
    static constexpr std::int64_t kept_us = 72LL * 3600 * 1'000'000;

    // Nobody else uses `disk`. The others outlive it.
    EventLog(Conditions& conditions, Clock& clock, std::unique_ptr<Disk> disk, std::string path);
    // Reads what is kept; once, before the others.
    void open();
    // About once a second: when it returns, what was raised and cleared before is durable. A disk
    // that fails is told as a condition; the events are kept in memory and tried again.
    void tick();
    // The newest `max` of those since then, oldest first; none is older than 72 hours.
    std::vector<ConditionEvent> events(WallMicros since, std::size_t max);

private:
    // What was found in a file.
    struct Content {
        std::vector<ConditionEvent> events;
        std::string text;         // The good lines.
        std::size_t damaged = 0;  // Lines; not those of a torn end.
    };
    static Content parse(std::string_view text);

    // With mutex_.
    void load(const std::string& path);
    void end_what_stood();
    void collect();
    void keep(ConditionEvent event);
    Result<void> append();
    Result<void> open_file();
    void tell_damage(std::string detail);

    Conditions& conditions_;
    Clock& clock_;
    const std::unique_ptr<Disk> disk_;
    const std::string path_;
    std::mutex mutex_;
    std::deque<ConditionEvent> kept_;
    std::uint64_t next_ = 0;  // Of the conditions' news.
    std::unique_ptr<File> file_;
    std::uint64_t size_ = 0;  // Of what is good at path_.
    std::string unwritten_;
    std::string damage_;  // What load() found wrong.
    std::optional<Nanos> damage_told_;
    StandingTrouble writing_;
};

}  // namespace cw::appliance
