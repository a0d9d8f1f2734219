#include "appliance/operator/machine_state.h"

#include "base/assert.h"

#include <algorithm>
#include <array>

namespace cw::appliance {
namespace {

using enum MachineState;

struct Row {
    Verb verb;
    MachineState from, during, after;
};

constexpr std::array rows{
    Row{Verb::failover, protected_, failing_over, failed_over},
    Row{Verb::failover, failed_over, failing_over, failed_over},  // Another point.
    Row{Verb::undo, failed_over, failed_over, protected_},
    Row{Verb::commit, failed_over, failed_over, committed},
    Row{Verb::commit, failed_back, failed_back, protected_},
    Row{Verb::commit, reprotected, reprotected, protected_},  // It stays where it runs now.
    Row{Verb::reprotect, committed, reprotecting, reprotected},
    Row{Verb::reprotect, reprotecting, reprotecting, reprotected},
    // A disk put back to a point of the machine that was never failed over: no state changes.
    Row{Verb::failback, protected_, protected_, protected_},
    Row{Verb::failback, committed, failing_back, failed_back},
    Row{Verb::failback, reprotecting, failing_back, failed_back},
    Row{Verb::failback, reprotected, failing_back, failed_back},
    Row{Verb::failback, failing_back, failing_back, failed_back},  // Of several disks: the rest.
    Row{Verb::failback, failed_back, failing_back, failed_back},   // Another point.
};

constexpr std::array all_verbs{Verb::failover, Verb::commit, Verb::reprotect,
                               Verb::failback, Verb::drill,  Verb::undo};

// A state that only a running job may be in.
bool held_by_a_job(const MachineRecord& record) noexcept {
    return record.state == failing_over ||
           (record.state == failing_back && !record.returned.half());
}

std::string allowed_text(MachineState state) {
    std::string out;
    for (const Verb verb : allowed_in(state)) {
        out += (out.empty() ? "" : ", ") + std::string(name_of(verb));
    }
    return out.empty() ? "nothing" : out;
}

// Past the commit of a failover.
std::string way_on(MachineState state) {
    if (state == reprotected) {
        return "go on with failback, or with commit: then it stays where it runs now";
    }
    return state == failed_back ? "the machine is back: go on with commit"
                                : "go on with reprotect or failback";
}

std::string why_not(const MachineRecord& record, Verb verb) {
    const MachineState state = record.state;
    if (record.returned.half()) {
        return half_text(record.returned) +
               "; go on with `causeway failback MACHINE --disk DISK --target PATH` for each, or "
               "give it up with `causeway failback MACHINE --cancel`";
    }
    if (verb == Verb::failover) {
        return "a failover was committed; " + way_on(state);
    }
    if (verb == Verb::commit) {
        return "there is no failover or failback to commit";
    }
    if (verb == Verb::undo) {
        return "there is no failover that could be given up";
    }
    if (verb == Verb::reprotect) {
        return state == protected_ || state == failed_over
                   ? "only a committed failover is reprotected"
                   : way_on(state);
    }
    return "first commit the failover, or give it up: causeway undo-failover MACHINE";
}

void undo_state(MachineRecord& record) {
    record.state = record.before;
    record.point = record.point_before;
    record.point_time = record.point_time_before;
    if (record.returned.half()) {
        record.state = failing_back;  // What was written stays written.
    } else if (record.returned.whole()) {
        record.state = failed_back;
        record.point = record.returned.point;
        record.point_time = record.returned.point_time;
    }
}

void forget_return(MachineRecord& record) {
    record.returned = {};
    record.away = committed;
}

void give_up_return(MachineRecord& record) {
    record.state = record.returned.half() ? record.away : record.before;
    if (record.returned.half()) {
        forget_return(record);
    }
}

// Some disks are another point already. Errors: transition_refused.
Result<void> check_same_point(const MachineRecord& record, const Job& job) {
    if (job.verb != Verb::failback || job.point.is_nil() || !record.returned.half() ||
        job.point == record.returned.point) {
        return {};
    }
    return fail(Errc::transition_refused,
                "failback to point " + to_string(job.point) + ": " + half_text(record.returned) +
                    "; all disks of a machine come back at one point: go on with that one "
                    "(without --point), or first give it up: causeway failback MACHINE --cancel");
}

// Of a settled record: a drill reads, and is in nobody's way. Errors: transition_refused.
Result<void> check_nobody_works(const MachineRecord& record, Verb wanted) {
    const auto works = std::ranges::find_if(record.jobs, [](const Job& job) {
        return job.state == JobState::running && job.verb != Verb::drill;
    });
    if (wanted == Verb::drill || works == record.jobs.end()) {
        return {};
    }
    return fail(Errc::transition_refused,
                std::string(name_of(wanted)) + ": job " + to_string(works->id) + " (" +
                    std::string(name_of(works->verb)) + ", process " +
                    std::to_string(works->holder.pid) + " on " + works->holder.host_name +
                    ") is at work; allowed now: drill");
}

// What a later verb goes by is not in drills. Errors: transition_refused (all of them run).
Result<void> make_room(std::vector<Job>& jobs) {
    const auto has_ended = [](const Job& job) { return job.state != JobState::running; };
    while (jobs.size() >= jobs_max) {
        auto least = std::ranges::find_if(
            jobs, [&](const Job& job) { return has_ended(job) && job.verb == Verb::drill; });
        if (least == jobs.end()) {
            least = std::ranges::find_if(jobs, has_ended);
        }
        if (least == jobs.end()) {
            return fail(Errc::transition_refused, std::to_string(jobs.size()) +
                                                      " jobs of this machine run already; wait "
                                                      "for one to end");
        }
        jobs.erase(least);
    }
    return {};
}

}  // namespace

std::optional<Transition> transition_of(MachineState from, Verb verb) noexcept {
    if (verb == Verb::drill) {
        return Transition{from, from};
    }
    for (const Row& row : rows) {
        if (row.verb == verb && row.from == from) {
            return Transition{row.during, row.after};
        }
    }
    return std::nullopt;
}

std::vector<Verb> allowed_in(MachineState state) {
    std::vector<Verb> out;
    std::ranges::copy_if(all_verbs, std::back_inserter(out),
                         [&](Verb verb) { return transition_of(state, verb).has_value(); });
    return out;
}

const Job* MachineRecord::find(const JobId& job) const noexcept {
    const auto found = std::ranges::find(jobs, job, &Job::id);
    return found == jobs.end() ? nullptr : &*found;
}

Job* MachineRecord::find(const JobId& job) noexcept {
    const auto found = std::ranges::find(jobs, job, &Job::id);
    return found == jobs.end() ? nullptr : &*found;
}

MachineRecord settled(MachineRecord record, const JobAlive& alive) {
    bool held = false;
    for (Job& job : record.jobs) {
        if (job.state != JobState::running) {
            continue;
        }
        if (!alive(job)) {
            job.state = JobState::interrupted;
        } else if (job.verb != Verb::drill) {
            held = true;
        }
    }
    if (!held && held_by_a_job(record)) {
        undo_state(record);
    }
    return record;
}

Result<void> begin_job(MachineRecord& record, const Job& job, const JobAlive& alive) {
    if (record.find(job.id) != nullptr) {
        return {};
    }
    record = settled(std::move(record), alive);
    CW_TRY(check_nobody_works(record, job.verb));
    const auto transition = transition_of(record.state, job.verb);
    if (!transition) {
        return fail(Errc::transition_refused, std::string(name_of(job.verb)) + ": the machine is " +
                                                  std::string(name_of(record.state)) + ": " +
                                                  why_not(record, job.verb) +
                                                  "; allowed now: " + allowed_text(record.state));
    }
    CW_TRY(check_same_point(record, job));
    CW_TRY(make_room(record.jobs));
    if (job.verb != Verb::drill) {
        record.before = record.state;
        record.point_before = record.point;
        record.point_time_before = record.point_time;
        record.state = transition->during;
    }
    record.jobs.push_back(job);
    record.jobs.back().state = JobState::running;
    record.jobs.back().detail = cut_text(job.detail);
    return {};
}

Result<void> note_return(MachineRecord& record, const JobId& id, const ReturnedDisks& wanted,
                         const DiskId& disk, DiskReturn phase) {
    const Job* job = record.find(id);
    if (job == nullptr || job->state != JobState::running) {
        return fail(Errc::transition_refused,
                    "job " + to_string(id) + " was taken for dead and another has taken over");
    }
    CW_ASSERT(job->verb == Verb::failback);
    if (record.before == protected_) {
        return {};
    }
    if (record.returned.point != wanted.point) {
        if (record.before != failing_back && record.before != failed_back) {
            record.away = record.before;
        }
        record.returned = wanted;
    }
    ReturnedDisk* const noted = record.returned.find(disk);
    CW_ASSERT(noted != nullptr);
    noted->phase = phase;
    return {};
}

Result<void> end_job(MachineRecord& record, const JobId& id, const JobEnd& end) {
    CW_ASSERT(end.state != JobState::running);
    Job* job = record.find(id);
    if (job == nullptr || (job->state != JobState::running && job->state != end.state)) {
        return fail(Errc::transition_refused,
                    "job " + to_string(id) + " was taken for dead and another has taken over");
    }
    if (job->state == end.state) {
        return {};  // Told before.
    }
    job->state = end.state;
    job->updated = end.at;
    job->error = end.error;
    job->detail = cut_text(end.detail);
    job->advice = cut_text(end.advice);
    if (!end.point.is_nil()) {
        job->point = end.point;
        job->point_time = end.point_time;
    }
    if (end.state != JobState::succeeded) {
        if (end.state == JobState::failed && job->verb != Verb::drill) {
            undo_state(record);
        }
        return {};
    }
    if (job->verb == Verb::drill) {
        if (!end.point.is_nil() && end.point_time >= record.proven_time) {
            record.proven = end.point;
            record.proven_time = end.point_time;
            record.proven_at = end.at;
        }
        return {};
    }
    const auto transition = transition_of(record.before, job->verb);
    CW_ASSERT(transition.has_value());
    record.state = transition->after;
    if (end.given_up) {
        give_up_return(record);
    } else if (record.state == failed_back && !record.returned.whole()) {
        record.state = failing_back;
    } else if (!end.point.is_nil() && record.state != protected_) {
        record.point = end.point;
        record.point_time = end.point_time;
    }
    if (job->verb == Verb::failover) {
        record.targets_made = end.targets_made;
    }
    if (record.state == protected_) {
        record.point = {};
        record.point_time = {};
        record.targets_made = 0;
        forget_return(record);
    }
    record.manifest = end.manifest != 0 ? end.manifest : record.manifest;
    return {};
}

std::string_view cut_text(std::string_view text, std::size_t max) noexcept {
    if (text.size() <= max) {
        return text;
    }
    constexpr unsigned char kind_bits = 0xC0, continues = 0x80;
    while (max > 0 && (static_cast<unsigned char>(text[max]) & kind_bits) == continues) {
        --max;
    }
    return text.substr(0, max);
}

std::string_view name_of(MachineState state) noexcept {
    switch (state) {
        case protected_:
            return "protected";
        case failing_over:
            return "failing-over";
        case failed_over:
            return "failed-over";
        case committed:
            return "committed";
        case reprotecting:
            return "reprotecting";
        case reprotected:
            return "reprotected";
        case failing_back:
            return "failing-back";
        case failed_back:
            return "failed-back";
    }
    return "";
}

std::string_view name_of(Verb verb) noexcept {
    switch (verb) {
        case Verb::failover:
            return "failover";
        case Verb::commit:
            return "commit";
        case Verb::reprotect:
            return "reprotect";
        case Verb::failback:
            return "failback";
        case Verb::drill:
            return "drill";
        case Verb::undo:
            return "undo-failover";
    }
    return "";
}

std::string_view name_of(JobState state) noexcept {
    switch (state) {
        case JobState::running:
            return "running";
        case JobState::waiting:
            return "waiting";
        case JobState::succeeded:
            return "succeeded";
        case JobState::failed:
            return "failed";
        case JobState::interrupted:
            return "interrupted";
    }
    return "";
}

}  // namespace cw::appliance
