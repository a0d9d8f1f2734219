// causeway commit | undo-failover | reprotect: verbs that only move a machine's state.
#include "appliance/cli/job_text.h"
#include "appliance/cli/point.h"
#include "base/log.h"
#include "egress/upload/disk_decision.h"

#include <algorithm>
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

// Older programs took one disk for the machine: their record tells a commit not which came back.
std::optional<Error> untold_disks(const recovery::Catalog& catalog, const MachineRecord& record) {
    const auto point = catalog.find_point(to_string(record.point));
    if (record.before != MachineState::failed_back || !record.returned.point.is_nil() || !point ||
        (*point)->cuts.size() < 2) {
        return std::nullopt;
    }
    return Error{Errc::transition_refused,
                 "commit: an older program brought back a disk of point " +
                     to_string(record.point) + ", which has " +
                     std::to_string((*point)->cuts.size()) +
                     ": run the failback again, with every disk (what is back already is compared "
                     "only): causeway failback MACHINE --point " +
                     to_string(record.point) + " --target DISK=PATH …"};
}

// Verbs that only move the state: commit, undo.
Result<void> move_state(Cli& cli, const std::string& machine_text, Verb verb) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine_text, false));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(JobRun run, JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                            {.machine = machine, .verb = verb}));
    if (const auto untold = untold_disks(*opened.catalog, run.record());
        untold && verb == Verb::commit) {
        return run.failed(*untold);
    }
    if (verb == Verb::undo) {
        if (const auto given_up = opened.site->give_up_failover(opened.catalog->machine());
            !given_up) {
            return run.failed(given_up.error());
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

constexpr const char* start_there =
    "start the agent on the machine that runs now, with this machine's certificate and an empty "
    "--state";

// The point that was brought back; if it was pruned since, the newest of those before it.
const vault::PointEntry* point_before(const recovery::Catalog& catalog,
                                      const MachineRecord& record) {
    if (const auto exact = catalog.find_point(to_string(record.point))) {
        return *exact;
    }
    const vault::PointEntry* newest = nullptr;
    for (const vault::PointEntry* point : catalog.points()) {
        if (point->manifest <= record.manifest && point->source_time <= record.point_time &&
            (newest == nullptr || point->manifest > newest->manifest)) {
            newest = point;
        }
    }
    return newest;
}

// The machine at the other site counts as protected once it has a recovery point of its own: a
// newer one than the failover's, by an agent that began without any state. The old source, should
// it still run, has its state and goes on with the old generation of each disk, or, if it could not
// prove its history, with a new one of the same origin.
std::optional<std::string> still_missing(const recovery::Catalog& catalog,
                                         const MachineRecord& record) {
    const auto newest = catalog.find_point("latest");
    if (!newest || (*newest)->manifest <= record.manifest) {
        return std::string("no recovery point since the failover was committed: ") + start_there;
    }
    const vault::PointEntry* const before = point_before(catalog, record);
    if (before == nullptr) {
        return std::nullopt;  // All pruned: what is newer than the commit must do.
    }
    for (const vault::PointEntry::Cut& cut : (*newest)->cuts) {
        const auto old = std::ranges::find(before->cuts, cut.disk, &vault::PointEntry::Cut::disk);
        if (old != before->cuts.end() &&
            upload::origin_of(cut.generation) == upload::origin_of(old->generation)) {
            const bool anew = cut.generation != old->generation;
            return "the newest point, " + to_string((*newest)->id) + " of " +
                   recovery::time_text((*newest)->source_time) +
                   ", is not of the machine that runs now: disk " + to_string(cut.disk) +
                   " is still sent by the old source, whose agent, " +
                   escape_for_display(catalog.state().newest.machine_name) +
                   (anew ? ", was started anew with the state that it had before the failover"
                         : ", still runs") +
                   "; stop that agent, then " + start_there;
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

void add_state_commands(CLI::App& app, Cli& cli) {
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
