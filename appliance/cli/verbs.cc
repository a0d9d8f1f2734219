// causeway commit | undo-failover | reprotect: verbs that only move a machine's state.
#include "appliance/cli/job_text.h"
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
#include "appliance/operator/commit_refusal.h"
#include "appliance/operator/reprotection.h"

#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

void print_state(Cli& cli, const MachineId& machine, const MachineRecord& record) {
    if (cli.json) {
        print_json(record_json(machine, record, cli.seams.clock->wall()));
        return;
    }
    std::printf("machine %s is %s; point %s\n", to_string(machine).c_str(),
                std::string(name_of(record.state)).c_str(),
                point_text(record.point, record.point_time).c_str());
}

struct StateOptions {
    std::string machine;
    std::vector<std::string> without;
};

// There may be something to give up that no record knows of.
std::unexpected<Error> refused_undo(Cli& cli, const OpenedCatalog& opened, MachineRecords& records,
                                    Error error) {
    const auto stored = records.load(opened.catalog->machine());
    if (stored) {
        const auto half = half_failover(opened, as_it_stands(*stored, cli.seams.clock->wall()));
        if (half && *half) {
            error.next = (*half)->next;
        }
    }
    return std::unexpected(std::move(error));
}

// What is made final must be what there is. Errors: transition_refused.
Result<void> check_whole(Cli& cli, const OpenedCatalog& opened, MachineRecords& records) {
    CW_TRY_ASSIGN(const MachineRecord stored, records.load(opened.catalog->machine()));
    const MachineRecord record = as_it_stands(stored, cli.seams.clock->wall());
    CW_TRY_ASSIGN(const auto half, half_failover(opened, record));
    return half && record.state == MachineState::failed_over
               ? Result<void>(std::unexpected(
                     Error{Errc::transition_refused, "commit: " + half->what, half->next}))
               : Result<void>{};
}

// Verbs that only move the state: commit, undo.
Result<void> move_state(Cli& cli, const StateOptions& options, Verb verb) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.machine, false));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    if (verb == Verb::commit) {
        CW_TRY(check_whole(cli, opened, *records));
    }
    auto begun = JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                               {.machine = machine, .verb = verb});
    if (!begun && verb == Verb::undo) {
        return refused_undo(cli, opened, *records, std::move(begun).error());
    }
    CW_TRY_ASSIGN(JobRun run, std::move(begun));
    if (verb == Verb::commit) {
        const auto refused = commit_refusal(*opened.catalog, run.record(), options.without);
        if (refused) {
            return run.failed({Errc::transition_refused, "commit: " + *refused});
        }
    }
    if (verb == Verb::undo) {
        if (const auto given_up = opened.site->give_up_failover(opened.catalog->machine());
            !given_up) {
            Error error = given_up.error();
            error.detail += "; some targets may have been given up already";
            error.next = "causeway undo-failover " + to_string(machine) +
                         " again, when what stopped it is over (causeway doctor)";
            return run.failed(error);
        }
    }
    JobEnd end;
    end.manifest = opened.catalog->state().newest.number;
    end.point = run.record().point;
    end.point_time = run.record().point_time;
    CW_TRY_ASSIGN(const MachineRecord record, run.end(end));
    print_state(cli, machine, record);
    return {};
}

Result<void> reprotect(Cli& cli, const StateOptions& options) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.machine, false));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(JobRun run, JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                            {.machine = machine, .verb = Verb::reprotect}));
    const auto missing = still_missing(*opened.catalog, run.record(), options.without);
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

void add_without_option(CLI::App& command, std::vector<std::string>& without) {
    command
        .add_option("--without", without,
                    "A disk of the failover that the machine goes on without, where it runs now")
        ->allow_extra_args(false);
}

}  // namespace

void add_state_commands(CLI::App& app, Cli& cli) {
    auto options = std::make_shared<StateOptions>();
    CLI::App* commit =
        app.add_subcommand("commit", "Make a failover (or failback) final: its point is chosen");
    add_machine_option(*commit, options->machine);
    add_without_option(*commit, options->without);
    commit->callback(
        [&cli, options] { cli.run([&] { return move_state(cli, *options, Verb::commit); }); });

    CLI::App* undo = app.add_subcommand(
        "undo-failover",
        "Give up a failover that was not committed; its disks are yours to delete");
    add_machine_option(*undo, options->machine);
    undo->callback(
        [&cli, options] { cli.run([&] { return move_state(cli, *options, Verb::undo); }); });

    CLI::App* reprotect_command = app.add_subcommand(
        "reprotect", "After a committed failover: the machine that runs now is to be protected");
    add_machine_option(*reprotect_command, options->machine);
    add_without_option(*reprotect_command, options->without);
    reprotect_command->callback(
        [&cli, options] { cli.run([&] { return reprotect(cli, *options); }); });
}

}  // namespace cw::appliance
