// Jobs: work of an operator's program that others can see while it runs and after it has ended or
// died. A job lives in its machine's record (machine_records.h); the process that runs it is named
// there, so that a dead one's job is told from a living one's.
#pragma once

#include "appliance/operator/machine_records.h"
#include "base/random.h"

namespace cw::appliance {

// This process.
JobHolder this_holder();
// Whether `job`'s process lives: on this host by asking the kernel; elsewhere by whether it has
// told of itself within job_silence_max_us.
bool job_alive(const Job& job, const JobHolder& self, WallMicros now);
inline constexpr std::int64_t job_silence_max_us = 120'000'000;
inline constexpr std::int64_t job_note_pause_ns = 10 * ns_per_s;

// `record` as it is in force at `now`, seen from this host.
MachineRecord as_it_stands(MachineRecord record, WallMicros now);

struct JobRequest {
    MachineId machine;
    Verb verb{};
    PointId point = {};  // Nil: not known yet.
    WallMicros point_time = {};
    std::string detail = {};    // What it is to make, for people.
    std::string plan_run = {};  // As Job has them.
    bool in_place = false;
};

// One running job. A JobRun that is destroyed without an end leaves a job that the next one finds
// interrupted. Thread-safety: none.
class JobRun {
public:
    // Errors: those of begin_job and MachineRecords::update.
    static Result<JobRun> begin(MachineRecords& records, Clock& clock, Random& random,
                                const JobRequest& request);

    [[nodiscard]] const JobId& id() const noexcept { return id_; }
    // The state it was begun in, and its failover.
    [[nodiscard]] const MachineRecord& record() const noexcept { return record_; }
    // Says where it is, at most every job_note_pause_ns (a new step at once). Cheap to call often;
    // what cannot be stored is dropped: progress is for show.
    void note(const std::string& step, std::uint64_t done, std::uint64_t total);
    // A failover: a file that it has finished, in place of an earlier mark of the same file;
    // nullopt, which is no regular file, is not noted. What cannot be stored, or has no room, is
    // not known if the job does not end well: it is then somebody's file.
    void note_whole(const std::optional<FileMark>& mark);
    // A failback: as note_return() has it. Errors: those of it and of MachineRecords::update.
    Result<void> note_return(const ReturnedDisks& wanted, const DiskId& disk, DiskReturn phase);
    // Errors: those of end_job and MachineRecords::update.
    Result<MachineRecord> end(JobEnd end);
    // Ends it as failed with `error`, as well as that can be done, and gives `error` back.
    std::unexpected<Error> failed(const Error& error);

private:
    JobRun(MachineRecords& records, Clock& clock, MachineId machine, JobId id)
        : records_(&records), clock_(&clock), machine_(machine), id_(id) {}

    MachineRecords* records_;
    Clock* clock_;
    MachineId machine_;
    JobId id_;
    MachineRecord record_;
    std::string step_;
    Nanos noted_{};
};

}  // namespace cw::appliance
