// causeway jobs, and a machine's state.
#include "appliance/cli/job_text.h"
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
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

struct JobArguments {
    std::string job, machine;
};

Result<void> jobs(Cli& cli, const JobArguments& arguments) {
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, arguments.machine));
    MachineRecords records(*vault.store, vault.access.identity);
    json out = json::array();
    Result<void> told;  // What cannot be read hides nothing of other machines.
    for (const MachineId& machine : machines) {
        const auto record = records.load(machine);
        if (!record) {
            told = std::unexpected(record.error());
            continue;
        }
        for (const Job& job : record->jobs) {
            if (arguments.job.empty() || to_string(job.id).starts_with(arguments.job)) {
                out.push_back(job_json(job, *record, machine, cli.seams.clock->wall()));
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
        return told ? fail(Errc::not_found, "no job " + arguments.job) : told;
    }
    std::sort(out.begin(), out.end(), [](const json& a, const json& b) {
        return a["started"].get<std::string>() < b["started"].get<std::string>();
    });
    if (cli.json) {
        print_json(out);
        return told;
    }
    for (const json& job : out) {
        print_job(job);
    }
    if (out.empty() && told) {
        std::puts("no jobs yet");
    }
    return told;
}

json switched_json(const HalfFailover& half) {
    json out = json::array();
    for (const SwitchedTarget& target : half.targets) {
        out.push_back({{"disk", target.disk},
                       {"path", target.path},
                       {"phase", target.phase},
                       {"point", to_string(target.point)}});
    }
    return out;
}

void print_switched(const HalfFailover& half) {
    std::printf("\n  %s", half.what.c_str());
    for (const SwitchedTarget& target : half.targets) {
        std::printf("\n    %s is %s: point %s", escape_for_display(target.path).c_str(),
                    target.phase.c_str(), to_string(target.point).c_str());
    }
    std::printf("\n  next: %s", half.next.c_str());
}

}  // namespace

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
    CW_TRY_ASSIGN(const MachineRecord stored, records.load(machine));
    const WallMicros now = cli.seams.clock->wall();
    const MachineRecord record = as_it_stands(stored, now);
    json out = record_json(machine, record, now);
    const vault::Manifest& newest = opened.catalog->state().newest;
    out["name"] = newest.machine_name;
    out["points"] = opened.catalog->points().size();
    CW_TRY_ASSIGN(const auto half, half_failover(opened, record));
    if (half) {
        out["switched_targets"] = switched_json(*half);
        std::erase(out["allowed"].get_ref<json::array_t&>(), name_of(Verb::commit));
        out["next"] = half->next;
    }
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
    if (record.returned.half()) {
        std::printf("\n  failback: %s", half_text(record.returned).c_str());
    }
    if (half) {
        print_switched(*half);
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
    add_state_commands(app, cli);
}

}  // namespace cw::appliance
