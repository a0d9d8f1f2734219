#include "appliance/operator/jobs.h"

#include "base/crypto.h"
#include "base/log.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <tuple>

#include <unistd.h>

namespace cw::appliance {
namespace {

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// Field 22 of /proc/PID/stat; 0: there is no such process, or it has ended and nobody has asked how
// (field 3). The name in field 2 may hold anything.
std::uint64_t start_of(std::uint64_t pid) {
    const std::string line = first_line("/proc/" + std::to_string(pid) + "/stat");
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) {
        return 0;
    }
    std::istringstream fields(line.substr(name_end + 1));
    std::string field;
    fields >> field;
    if (field == "Z" || field == "X") {
        return 0;
    }
    constexpr int from_state_to_start = 19;
    for (int i = 0; i < from_state_to_start; ++i) {
        fields >> field;
    }
    return std::strtoull(field.c_str(), nullptr, 10);
}

// A process id means something only within one boot and one process namespace.
std::array<std::byte, 16> host_identity() {
    char space[64] = {};
    const ssize_t n = ::readlink("/proc/self/ns/pid", space, sizeof space - 1);
    const std::string text = first_line("/proc/sys/kernel/random/boot_id") + " " +
                             std::string(space, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    const Sha256 digest = sha256(as_bytes(text));
    std::array<std::byte, 16> out;
    std::copy_n(digest.begin(), out.size(), out.begin());
    return out;
}

}  // namespace

JobHolder this_holder() {
    char name[256] = {};
    ::gethostname(name, sizeof name - 1);
    const auto pid = static_cast<std::uint64_t>(::getpid());
    return {.host = host_identity(), .pid = pid, .started = start_of(pid), .host_name = name};
}

bool job_alive(const Job& job, const JobHolder& self, WallMicros now) {
    if (job.state != JobState::running) {
        return false;
    }
    if (job.holder.host == self.host) {
        return job.holder.started != 0 && start_of(job.holder.pid) == job.holder.started;
    }
    const std::int64_t silence = raw(now) - raw(job.updated);
    return silence < job_silence_max_us;
}

MachineRecord as_it_stands(MachineRecord record, WallMicros now) {
    const JobHolder self = this_holder();
    return settled(std::move(record), [&](const Job& job) { return job_alive(job, self, now); });
}

Result<JobRun> JobRun::begin(MachineRecords& records, Clock& clock, Random& random,
                             const JobRequest& request) {
    Job job;
    job.id = make_id<JobId>(random);
    job.verb = request.verb;
    job.holder = this_holder();
    job.point = request.point;
    job.point_time = request.point_time;
    job.detail = request.detail;
    job.plan_run = request.plan_run.substr(0, plan_run_max);
    job.in_place = request.in_place;
    JobRun run(records, clock, request.machine, job.id);
    CW_TRY_ASSIGN(run.record_, records.update(request.machine, [&](MachineRecord& record) {
        job.started = job.updated = clock.wall();
        return begin_job(record, job, [&](const Job& other) {
            return job_alive(other, job.holder, job.started);
        });
    }));
    run.noted_ = clock.boot();
    return run;
}

void JobRun::note(const std::string& step, std::uint64_t done, std::uint64_t total) {
    const Nanos now = clock_->boot();
    if (step == step_ && now - noted_ < job_note_pause_ns) {
        return;
    }
    step_ = step;
    noted_ = now;
    std::ignore = records_->update(machine_, [&](MachineRecord& record) -> Result<void> {
        Job* job = record.find(id_);
        if (job == nullptr || job->state != JobState::running) {
            return fail(Errc::transition_refused, "the job is not running");
        }
        job->updated = clock_->wall();
        job->step = cut_text(step);
        job->done = done;
        job->total = total;
        return {};
    });
}

void JobRun::note_whole(const std::optional<FileMark>& mark) {
    if (!mark) {
        return;
    }
    std::ignore = records_->update(machine_, [&](MachineRecord& record) -> Result<void> {
        Job* job = record.find(id_);
        if (job == nullptr || job->state != JobState::running) {
            return fail(Errc::transition_refused, "the job is not running");
        }
        std::erase_if(job->whole, [&](const FileMark& other) { return other.same_file(*mark); });
        if (job->whole.size() < marks_max) {
            job->whole.push_back(*mark);
        }
        return {};
    });
}

Result<void> JobRun::note_return(const ReturnedDisks& wanted, const DiskId& disk,
                                 DiskReturn phase) {
    CW_TRY(records_->update(machine_, [&](MachineRecord& record) {
        return appliance::note_return(record, id_, wanted, disk, phase);
    }));
    return {};
}

Result<MachineRecord> JobRun::end(JobEnd end) {
    end.at = clock_->wall();
    return records_->update(machine_,
                            [&](MachineRecord& record) { return end_job(record, id_, end); });
}

std::unexpected<Error> JobRun::failed(const Error& error) {
    JobEnd how;
    how.state = JobState::failed;
    how.error = raw(error.code);
    how.detail = error.detail;
    how.advice = error.next;
    if (const auto stored = end(how); !stored) {
        log_warning("job.end_not_stored", {{"job", id_}, {"error", stored.error()}});
    }
    return std::unexpected(error);
}

}  // namespace cw::appliance
