// MachineState: where a machine stands between protection and recovery, and what may happen next.
//
// One record per machine holds its state, what the failover brought back, the newest proven point
// and its newest jobs. Everything here is a value and pure; machine_records.h stores it. Format:
// appliance/operator/RECORDS.md.
#pragma once

#include "appliance/operator/file_mark.h"
#include "appliance/operator/returned_disks.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

enum class MachineState : std::uint8_t {
    protected_ = 1,
    failing_over = 2,
    failed_over = 3,   // A point was brought back; another one may still be chosen.
    committed = 4,     // The choice is final.
    reprotecting = 5,  // The machine at the other site has no recovery point yet.
    reprotected = 6,
    failing_back = 7,  // By a job; or of several disks some are the point: see `returned`.
    failed_back = 8,   // Every disk of the machine is back, at one point.
};
// `undo` gives up a failover that was not committed.
enum class Verb : std::uint8_t {
    failover = 1,
    commit = 2,
    reprotect = 3,
    failback = 4,
    drill = 5,
    undo = 6
};
enum class JobState : std::uint8_t {
    running = 1,
    waiting = 2,  // Ended without its goal: what it waits for is outside.
    succeeded = 3,
    failed = 4,
    interrupted = 5  // Whoever ran it is gone.
};
std::string_view name_of(MachineState state) noexcept;  // "protected", "failing-over" …
std::string_view name_of(Verb verb) noexcept;
std::string_view name_of(JobState state) noexcept;

// What a verb makes of a state: while its job runs, and when it succeeded.
struct Transition {
    MachineState during{};
    MachineState after{};
};
// nullopt: not allowed.
std::optional<Transition> transition_of(MachineState from, Verb verb) noexcept;
std::vector<Verb> allowed_in(MachineState state);

using JobId = Uuid<struct JobTag>;

// The process that runs a job. `host` tells boots and process namespaces apart.
struct JobHolder {
    std::array<std::byte, 16> host{};
    std::uint64_t pid = 0;
    std::uint64_t started = 0;  // Of the process, in the kernel's ticks since boot.
    std::string host_name;      // For people.
    friend bool operator==(const JobHolder&, const JobHolder&) = default;
};

struct Job {
    JobId id;
    Verb verb{};
    JobState state = JobState::running;
    JobHolder holder;
    WallMicros started{}, updated{};
    PointId point;  // Nil: none.
    WallMicros point_time{};
    std::string step;         // What it does, or which step failed.
    std::uint64_t done = 0;   // Of total, in the step's unit.
    std::uint64_t total = 0;  // 0: unknown.
    std::uint16_t error = 0;  // Errc, 0: none.
    std::string detail;       // What it is to make, then the result or evidence of the error.
    std::string advice;       // That its error had of its own; empty: what its code has.
    // Of failovers only.
    std::string plan_run;         // name_of_tries() of what it is a step of; empty: of none.
    std::vector<FileMark> whole;  // The files that it has finished, at most marks_max.
    bool in_place = false;        // At a second site: it makes the targets the point.
};

struct MachineRecord {
    std::uint64_t revision = 0;  // Grows with each stored version; 0: nothing is stored.
    MachineState state = MachineState::protected_;
    MachineState before = MachineState::protected_;  // What an interrupted job falls back to.
    PointId point;                                   // Failed over to; nil: none.
    WallMicros point_time{};
    PointId point_before;
    WallMicros point_time_before{};
    std::uint64_t manifest = 0;  // Newest of the chain when the failover was committed.
    // Of a failover in place at a second site: the targets that it has made the point; 0: it has
    // written files.
    std::uint16_t targets_made = 0;
    PointId proven;            // By a drill; nil: none.
    WallMicros proven_time{};  // Source time of that point.
    WallMicros proven_at{};
    ReturnedDisks returned;  // By a failback of a machine that runs elsewhere.
    // Where such a failback began, and what giving it up leads back to.
    MachineState away = MachineState::committed;
    std::vector<Job> jobs;  // Oldest first, at most jobs_max.

    [[nodiscard]] const Job* find(const JobId& job) const noexcept;
    [[nodiscard]] Job* find(const JobId& job) noexcept;
};
inline constexpr std::size_t jobs_max = 32;
// Longer texts are cut when they are set: with cut_text().
inline constexpr std::size_t job_text_max = 1024;
inline constexpr std::size_t plan_run_max = 64;  // name_of_tries() is 37 bytes at most.
inline constexpr std::size_t marks_max = returned_disks_max;

// The beginning of `text`, of at most `max` bytes and with no part of a UTF-8 character at its end.
std::string_view cut_text(std::string_view text, std::size_t max = job_text_max) noexcept;

// Whether the process that runs a job still lives.
using JobAlive = std::function<bool(const Job&)>;

// The record as it is in force, which is what people are to be shown: jobs of dead processes are
// interrupted, and what such a job alone had made of the state is undone.
MachineRecord settled(MachineRecord record, const JobAlive& alive);

// Enters `job` (its verb says what) as running and moves the state. A dead job that stands in the
// way is marked interrupted and its state undone first. Doing it twice is doing it once. Of more
// than jobs_max jobs the oldest drill that has ended is forgotten, or the oldest other job that
// has. Errors: transition_refused, with the reason and what is allowed; also of a failback to
// another point than some disks already have, and of a job too many.
Result<void> begin_job(MachineRecord& record, const Job& job, const JobAlive& alive);

// What a running failback is about to do to a disk of `wanted`'s point, or has done; `wanted` has
// every disk of the point, as missing. The first one of another point begins that point's list.
// Nothing is noted of a machine that was never failed over: it has no state to move.
// Errors: transition_refused (another job has taken over meanwhile).
Result<void> note_return(MachineRecord& record, const JobId& job, const ReturnedDisks& wanted,
                         const DiskId& disk, DiskReturn phase);

struct JobEnd {
    JobState state = JobState::succeeded;  // succeeded, waiting or failed
    WallMicros at{};
    std::uint16_t error = 0;
    std::string detail, advice;
    std::uint16_t targets_made = 0;
    PointId point;  // What was brought back or proven; nil keeps what stands.
    WallMicros point_time{};
    std::uint64_t manifest = 0;
    bool given_up = false;  // A failback: the disks that are back do not count.
};
// Ends a running job: success moves the state on, failure undoes it, waiting leaves it. A failback
// moves it on when every disk is back, and cannot be undone once it may have written one.
// Errors: transition_refused (another job has taken over meanwhile).
Result<void> end_job(MachineRecord& record, const JobId& job, const JobEnd& end);

// The payload of a stored record.
ByteVector encode_machine_record(const MachineRecord& record);
// Errors: object_corrupt, format_unsupported.
Result<MachineRecord> decode_machine_record(Bytes payload);

}  // namespace cw::appliance
