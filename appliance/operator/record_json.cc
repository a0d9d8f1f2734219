#include "appliance/operator/record_json.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// A running job whose process is dead is shown for what it is.
JobState state_now(const Job& job, WallMicros now) {
    const bool dead = job.state == JobState::running && !job_alive(job, this_holder(), now);
    return dead ? JobState::interrupted : job.state;
}

// How long it took, or has taken so far; of one that died: until it last told of itself.
void put_seconds(json& out, JobState state, WallMicros started, WallMicros updated,
                 WallMicros now) {
    const WallMicros until = state == JobState::running ? now : updated;
    out["seconds"] =
        static_cast<double>(std::max<std::int64_t>(0, raw(until) - raw(started))) / 1e6;
}

// Whether a later job has gone on from where `job` ended, or with something else.
bool is_followed(const Job& job, const MachineRecord& record) {
    const auto same = std::ranges::find(record.jobs, job.id, &Job::id);
    return same != record.jobs.end() &&
           std::any_of(std::next(same), record.jobs.end(), [&](const Job& later) {
               return (later.verb == Verb::drill) == (job.verb == Verb::drill);
           });
}

// Of an interrupted job: the command that goes on, or begins again.
std::string next_of(Verb verb, const MachineId& machine) {
    return "causeway " + std::string(name_of(verb)) + " " + to_string(machine) +
           " …, as it was said before";
}

json returned_json(const ReturnedDisks& returned) {
    json out{{"point", to_string(returned.point)},
             {"point_time", recovery::time_text(returned.point_time)},
             {"disks", json::array()}};
    for (const ReturnedDisk& disk : returned.disks) {
        out["disks"].push_back(
            {{"disk", to_string(disk.disk)}, {"name", disk.name}, {"state", name_of(disk.phase)}});
    }
    return out;
}

}  // namespace

json job_json(const Job& job, const MachineRecord& record, const MachineId& machine,
              WallMicros now) {
    const auto error = errc_from_number(job.error);
    json out{{"id", to_string(job.id)},
             {"machine", to_string(machine)},
             {"verb", name_of(job.verb)},
             {"state", name_of(state_now(job, now))},
             {"started", recovery::time_text(job.started)},
             {"updated", recovery::time_text(job.updated)},
             {"host", job.holder.host_name},
             {"pid", job.holder.pid}};
    if (!job.point.is_nil()) {
        out["point"] = to_string(job.point);
        out["point_time"] = recovery::time_text(job.point_time);
    }
    put_seconds(out, state_now(job, now), job.started, job.updated, now);
    if (!job.step.empty()) {
        out["step"] = job.step;
        // What it last told of itself while it ran is no longer true of one that has succeeded.
        out["done"] = job.state == JobState::succeeded ? job.total : job.done;
        out["total"] = job.total;
    }
    if (job.error != 0) {
        out["code"] = error ? name_of(*error) : "UNKNOWN";
        out["error"] = error ? to_string(Error{*error, job.detail, job.advice}) : job.detail;
    } else if (!job.detail.empty()) {
        out["detail"] = job.detail;
    }
    if (state_now(job, now) == JobState::interrupted && !is_followed(job, record)) {
        out["next"] = next_of(job.verb, machine);
    }
    return out;
}

json record_json(const MachineId& machine, const MachineRecord& stored, WallMicros now) {
    const MachineRecord record = as_it_stands(stored, now);
    json out{{"machine", to_string(machine)},
             {"state", name_of(record.state)},
             {"allowed", json::array()},
             {"jobs", json::array()}};
    for (const Verb verb : allowed_in(record.state)) {
        // A living failback has the state for itself; of a half one the rest may be brought back.
        if (verb != Verb::failback || record.state != MachineState::failing_back ||
            std::ranges::none_of(record.jobs, [&](const Job& job) {
                return job.verb == verb && job.state == JobState::running;
            })) {
            out["allowed"].push_back(name_of(verb));
        }
    }
    if (!record.returned.point.is_nil()) {
        out["returned"] = returned_json(record.returned);
    }
    if (!record.point.is_nil()) {
        out["point"] = to_string(record.point);
        out["point_time"] = recovery::time_text(record.point_time);
    }
    if (!record.proven.is_nil()) {
        out["proven"] = {{"point", to_string(record.proven)},
                         {"point_time", recovery::time_text(record.proven_time)},
                         {"at", recovery::time_text(record.proven_at)}};
    }
    for (const Job& job : record.jobs) {
        out["jobs"].push_back(job_json(job, record, machine, now));
    }
    return out;
}

json plan_job_json(const PlanRun& run, WallMicros now) {
    Job job;
    job.state = run.state;
    job.holder = run.holder;
    job.updated = run.updated;
    json out{{"id", to_string(run.id)},
             {"plan", run.name},
             {"verb", "plan"},
             {"state", name_of(state_now(job, now))},
             {"started", recovery::time_text(run.started)},
             {"updated", recovery::time_text(run.updated)},
             {"host", run.holder.host_name},
             {"pid", run.holder.pid}};
    put_seconds(out, state_now(job, now), run.started, run.updated, now);
    const auto open = std::ranges::find_if(
        run.steps, [](const StepRun& step) { return step.state != StepState::done; });
    out["done"] = std::ranges::count(run.steps, StepState::done, &StepRun::state);
    out["total"] = run.steps.size();
    if (open != run.steps.end()) {
        out["step"] = open->name;
        if (open->state == StepState::failed) {
            out["code"] = name_of(Errc::plan_failed);
            out["error"] = to_string(Error{Errc::plan_failed, open->name + ": " + open->detail});
        }
    } else {
        out["step"] = "all steps";
    }
    if (state_now(job, now) == JobState::interrupted) {
        out["next"] = "causeway plan run FILE";
    }
    return out;
}

json point_json(const recovery::Catalog& catalog, const vault::PointEntry& point) {
    json out{{"id", to_string(point.id)},
             {"kind", recovery::name_of(point.kind)},
             {"time", recovery::time_text(point.source_time)},
             {"source_time_us", raw(point.source_time)},
             {"valid_until_us", raw(point.valid_until)},
             {"tag", point.tag},
             {"disks", json::array()}};
    if (!point.group.is_nil()) {
        out["group"] = to_string(point.group);  // The same in every machine of the group.
    }
    for (const vault::PointEntry::Cut& cut : point.cuts) {
        const recovery::DiskAtPoint disk = catalog.disk_at(cut);
        out["disks"].push_back({{"disk", to_string(cut.disk)},
                                {"name", disk.name},
                                {"size_bytes", disk.size_bytes},
                                {"generation", raw(cut.generation)},
                                {"sequence", raw(cut.cut)},
                                {"stream_hash", to_hex(cut.stream_hash)}});
    }
    return out;
}

}  // namespace cw::appliance
