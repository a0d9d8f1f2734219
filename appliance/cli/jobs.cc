// causeway jobs | commit | reprotect, and a machine's state.
#include "appliance/cli/point.h"
#include "appliance/operator/plan.h"
#include "appliance/server_state.h"
#include "base/log.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// An operator's own computer has no state directory: then it is nobody in particular.
ServerId signer_id(Cli& cli) {
    const auto settings = cli.settings();
    if (settings) {
        const auto id =
            load_server_id(*cli.seams.disk, *cli.seams.random, settings->server_state_dir);
        if (id) {
            return *id;
        }
    }
    return make_id<ServerId>(*cli.seams.random);
}

std::string time_or_dash(WallMicros time) {
    return raw(time) == 0 ? "-" : recovery::time_text(time);
}

std::string point_text(const PointId& point, WallMicros time) {
    return point.is_nil() ? "none" : to_string(point) + " of " + recovery::time_text(time);
}

// A running job whose process is dead is shown for what it is.
JobState state_now(const Job& job, WallMicros now) {
    const bool dead = job.state == JobState::running && !job_alive(job, this_holder(), now);
    return dead ? JobState::interrupted : job.state;
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

// A plan's run as a job: its step is the first that is not done.
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

struct JobArguments {
    std::string job, machine;
};

Result<void> jobs(Cli& cli, const JobArguments& arguments) {
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, arguments.machine));
    MachineRecords records(*vault.store, vault.access.identity);
    json out = json::array();
    for (const MachineId& machine : machines) {
        CW_TRY_ASSIGN(const MachineRecord record, records.load(machine));
        for (const Job& job : record.jobs) {
            if (arguments.job.empty() || to_string(job.id).starts_with(arguments.job)) {
                out.push_back(job_json(job, machine, cli.seams.clock->wall()));
            }
        }
    }
    if (arguments.machine.empty()) {
        CW_TRY_ASSIGN(const auto runs, PlanRuns(*vault.store, vault.access.identity).all());
        for (const PlanRun& run : runs) {
            if (arguments.job.empty() || to_string(run.id).starts_with(arguments.job)) {
                out.push_back(plan_job_json(run, cli.seams.clock->wall()));
            }
        }
    }
    if (!arguments.job.empty() && out.empty()) {
        return fail(Errc::not_found, "no job " + arguments.job);
    }
    std::sort(out.begin(), out.end(), [](const json& a, const json& b) {
        return a["started"].get<std::string>() < b["started"].get<std::string>();
    });
    if (cli.json) {
        print_json(out);
        return {};
    }
    for (const json& job : out) {
        print_job(job);
    }
    if (out.empty()) {
        std::puts("no jobs yet");
    }
    return {};
}

void print_state(Cli& cli, const MachineId& machine, const MachineRecord& record) {
    if (cli.json) {
        print_json(record_json(machine, record, cli.seams.clock->wall()));
        return;
    }
    std::printf("machine %s is %s; point %s\n", to_string(machine).c_str(),
                std::string(name_of(record.state)).c_str(),
                point_text(record.point, record.point_time).c_str());
}

// Verbs that only move the state: commit, undo.
Result<void> move_state(Cli& cli, const std::string& machine_text, Verb verb) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, false));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(JobRun run, JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                            {.machine = machine, .verb = verb}));
    JobEnd end;
    end.manifest = opened.catalog->state().newest.number;
    end.point = run.record().point;
    end.point_time = run.record().point_time;
    CW_TRY_ASSIGN(const MachineRecord record, run.end(end));
    print_state(cli, machine, record);
    return {};
}

// The machine at the other site counts as protected once it has a recovery point of its own: a
// newer one than the failover's, of a new generation of each disk (the old source, should it still
// run, goes on with the old generation).
std::optional<std::string> still_missing(const recovery::Catalog& catalog,
                                         const MachineRecord& record) {
    const auto newest = catalog.find_point("latest");
    if (!newest || (*newest)->manifest <= record.manifest) {
        return "no recovery point since the failover was committed: start the agent on the "
               "machine that runs now, with this machine's certificate and an empty --state";
    }
    const auto before = catalog.find_point(to_string(record.point));
    if (!before) {
        return std::nullopt;  // Pruned since: what is newer than the commit must do.
    }
    for (const vault::PointEntry::Cut& cut : (*newest)->cuts) {
        for (const vault::PointEntry::Cut& old : (*before)->cuts) {
            if (cut.disk == old.disk && cut.generation == old.generation) {
                return "disk " + to_string(cut.disk) +
                       " is still sent by the old source: stop its agent";
            }
        }
    }
    return std::nullopt;
}

Result<void> reprotect(Cli& cli, const std::string& machine_text) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, false));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(JobRun run, JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                            {.machine = machine, .verb = Verb::reprotect}));
    const auto missing = still_missing(*opened.catalog, run.record());
    JobEnd end;
    end.state = missing ? JobState::waiting : JobState::succeeded;
    end.detail = missing.value_or("");
    CW_TRY_ASSIGN(const MachineRecord record, run.end(end));
    print_state(cli, machine, record);
    if (missing && !cli.json) {
        std::printf("waits: %s; then run this again\n", missing->c_str());
    }
    return {};
}

}  // namespace

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

Result<std::unique_ptr<MachineRecords>> open_records(Cli& cli, const OpenedCatalog& opened) {
    CW_TRY_ASSIGN(vault::ServerSigner signer,
                  vault::make_server_signer(*opened.store, *opened.access.kek, *cli.seams.random,
                                            signer_id(cli)));
    return std::make_unique<MachineRecords>(*opened.store, opened.access.identity,
                                            std::move(signer));
}

Result<void> show_machine(Cli& cli, const std::string& machine_text) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, false));
    MachineRecords records(*opened.store, opened.access.identity);
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(const MachineRecord record, records.load(machine));
    json out = record_json(machine, record, cli.seams.clock->wall());
    const vault::Manifest& newest = opened.catalog->state().newest;
    out["name"] = newest.machine_name;
    out["points"] = opened.catalog->points().size();
    if (cli.json) {
        print_json(out);
        return {};
    }
    std::printf(
        "%s  %s\n  state %s, %zu points\n  failed over to: %s\n  newest proven point: %s "
        "(drilled %s)\n  allowed now:",
        to_string(machine).c_str(), escape_for_display(newest.machine_name).c_str(),
        std::string(name_of(record.state)).c_str(), opened.catalog->points().size(),
        point_text(record.point, record.point_time).c_str(),
        point_text(record.proven, record.proven_time).c_str(),
        time_or_dash(record.proven_at).c_str());
    for (const json& verb : out["allowed"]) {
        std::printf(" %s", verb.get<std::string>().c_str());
    }
    std::puts("\njobs:");
    for (const json& job : out["jobs"]) {
        print_job(job);
    }
    return {};
}

void add_job_commands(CLI::App& app, Cli& cli) {
    CLI::App* jobs_command =
        app.add_subcommand("jobs", "Work of operators: what runs, what ended how");
    auto arguments = std::make_shared<JobArguments>();
    jobs_command->add_option("JOB", arguments->job, "Its id, or the beginning of it");
    jobs_command->add_option("--machine", arguments->machine, "Only this machine's");
    jobs_command->callback([&cli, arguments] { cli.run([&] { return jobs(cli, *arguments); }); });

    auto machine = std::make_shared<std::string>();
    CLI::App* commit =
        app.add_subcommand("commit", "Make a failover (or failback) final: its point is chosen");
    add_machine_option(*commit, *machine);
    commit->callback(
        [&cli, machine] { cli.run([&] { return move_state(cli, *machine, Verb::commit); }); });

    CLI::App* undo = app.add_subcommand(
        "undo-failover",
        "Give up a failover that was not committed; its disks are yours to delete");
    add_machine_option(*undo, *machine);
    undo->callback(
        [&cli, machine] { cli.run([&] { return move_state(cli, *machine, Verb::undo); }); });

    CLI::App* reprotect_command = app.add_subcommand(
        "reprotect", "After a committed failover: the machine that runs now is to be protected");
    add_machine_option(*reprotect_command, *machine);
    reprotect_command->callback(
        [&cli, machine] { cli.run([&] { return reprotect(cli, *machine); }); });
}

}  // namespace cw::appliance
