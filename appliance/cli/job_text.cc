#include "appliance/cli/job_text.h"

#include "appliance/operator/jobs.h"
#include "base/log.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// A running job whose process is dead is shown for what it is.
JobState state_now(const Job& job, WallMicros now) {
    const bool dead = job.state == JobState::running && !job_alive(job, this_holder(), now);
    return dead ? JobState::interrupted : job.state;
}

}  // namespace

std::string point_text(const PointId& point, WallMicros time) {
    return point.is_nil() ? "none" : to_string(point) + " of " + recovery::time_text(time);
}

json job_json(const Job& job, const MachineId& machine, WallMicros now) {
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
    if (!job.step.empty()) {
        out["step"] = job.step;
        out["done"] = job.done;
        out["total"] = job.total;
    }
    if (job.error != 0) {
        out["code"] = error ? name_of(*error) : "UNKNOWN";
        out["error"] = error ? to_string(Error{*error, job.detail}) : job.detail;
    } else if (!job.detail.empty()) {
        out["detail"] = job.detail;
    }
    return out;
}

json record_json(const MachineId& machine, const MachineRecord& record, WallMicros now) {
    json out{{"machine", to_string(machine)},
             {"state", name_of(record.state)},
             {"allowed", json::array()},
             {"jobs", json::array()}};
    for (const Verb verb : allowed_in(record.state)) {
        out["allowed"].push_back(name_of(verb));
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
        out["jobs"].push_back(job_json(job, machine, now));
    }
    return out;
}

void print_job(const json& job) {
    const bool plan = job.contains("plan");
    std::printf("%s  %-9s %-11s %s  %s %s\n", job["id"].get<std::string>().c_str(),
                job["verb"].get<std::string>().c_str(), job["state"].get<std::string>().c_str(),
                job["started"].get<std::string>().c_str(), plan ? "plan" : "machine",
                escape_for_display(job[plan ? "plan" : "machine"].get<std::string>()).c_str());
    const auto shown = [&](const char* key) {
        return escape_for_display(job.value(key, ""), job_text_max);
    };
    if (job.contains("step")) {
        std::printf("    %s", shown("step").c_str());
        const double total = job.value("total", 0.0);
        if (total > 0) {
            std::printf(": %.0f %%", 100 * job.value("done", 0.0) / total);
        }
        std::puts("");
    }
    if (job.contains("error")) {
        std::printf("    ! %s\n", shown("error").c_str());
    }
    if (job.contains("detail")) {
        std::printf("    %s\n", shown("detail").c_str());
    }
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
    return out;
}

}  // namespace cw::appliance
