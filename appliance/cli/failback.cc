// causeway failback: old disks become a machine's disks at a point; only differences travel.
#include "recovery/failback.h"

#include "appliance/cli/changes.h"
#include "appliance/cli/failback_disks.h"
#include "appliance/cli/failback_hint.h"
#include "appliance/cli/failback_report.h"
#include "appliance/cli/failback_work.h"
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/operator/outputs.h"
#include "base/crash_point.h"
#include "base/full_disk.h"
#include "base/log.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>

namespace cw::appliance {
namespace {

struct FailbackOptions {
    PointChoice from;
    bool point_given = false;
    FailbackWork work;
    std::vector<std::string> hints, without;
    bool cancel = false, trust_hint = false;
};

// What a master target collects lies over its target: nobody else may write it.
Result<void> check_own_targets(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    std::error_code ignored;
    const auto own = std::filesystem::canonical(settings.server_state_dir, ignored).string();
    if (!own.empty() && std::filesystem::canonical(path, ignored).string().starts_with(own + "/")) {
        return fail(Errc::target_unsafe, path + " is a file of this server's own");
    }
    for (const config::TargetEntry& target : settings.targets) {
        if (target.path == path || volume::share_storage(target.path, path)) {
            return fail(Errc::target_unsafe,
                        path + " is a [[target]] of this master target: `causeway failover " +
                            target.machine + "` makes it a point");
        }
    }
    return {};
}

// The point that some disks already are, unless another one is asked for: begin_job() refuses that.
// Errors: those of find_point().
Result<const vault::PointEntry*> choose_point(const OpenedCatalog& opened,
                                              const FailbackOptions& options,
                                              const ReturnedDisks& returned) {
    if (options.point_given || !returned.half()) {
        return find_point(opened, options.from.point);
    }
    auto point = opened.catalog->find_point(to_string(returned.point));
    if (!point) {
        point.error().detail += "; " + half_text(returned) +
                                ": to choose another point for all of them, first give that one "
                                "up: causeway failback MACHINE --cancel";
    }
    return point;
}

// What the failover brought back comes back, unless somebody says that the machine goes on without:
// a point of a machine of which one disk was not protected any more would leave it as it was
// before. Errors: usage.
Result<void> check_none_is_left(const FailbackOptions& options, const recovery::Catalog& catalog,
                                const PointId& failed_over_to, const vault::PointEntry& point) {
    const auto before = catalog.find_point(to_string(failed_over_to));
    if (failed_over_to.is_nil() || !before) {
        return {};
    }
    for (const vault::PointEntry::Cut& cut : (*before)->cuts) {
        const recovery::DiskAtPoint disk = catalog.disk_at(cut);
        const auto said = [&](const std::string& word) {
            return word == to_string(disk.disk) || (!disk.name.empty() && word == disk.name);
        };
        if (std::ranges::find(point.cuts, cut.disk, &vault::PointEntry::Cut::disk) ==
                point.cuts.end() &&
            std::ranges::none_of(options.without, said)) {
            return fail(Errc::usage,
                        "point " + to_string(point.id) + " has not disk " +
                            escape_for_display(disk.name) + " (" + to_string(disk.disk) +
                            "), which the failover brought back: protect it where the machine "
                            "runs, and take a later point; or, if the machine goes on without "
                            "it: --without " +
                            to_string(disk.disk));
        }
    }
    return {};
}

// Errors: target_unsafe, usage: nothing was touched.
Result<void> check_targets(Cli& cli, volume::TargetProbe& probe,
                           const std::vector<DiskOutput>& places) {
    for (const DiskOutput& place : places) {
        CW_TRY(probe.check_unused(place.path));
        CW_TRY(check_own_targets(cli, place.path));
        for (const DiskOutput& other : places) {
            if (&other != &place && volume::share_storage(place.path, other.path)) {
                return fail(Errc::usage, place.path + " and " + other.path + " share storage");
            }
        }
    }
    return {};
}

// Of every disk that has a place. Errors: those of placing, of the targets, of the hints.
Result<std::vector<OldDisk>> prepare(Cli& cli, const FailbackOptions& options,
                                     const OpenedCatalog& opened, const vault::PointEntry& point,
                                     const std::vector<DiskOutput>& places) {
    std::vector<recovery::DiskAtPoint> disks;
    std::ranges::transform(places, std::back_inserter(disks), &DiskOutput::disk);
    CW_TRY_ASSIGN(const auto hints, assign_to_disks(disks, options.hints, "--hint"));
    CW_TRY_ASSIGN(const auto names, assign_to_disks(disks, options.work.identities, "--identity"));
    std::vector<OldDisk> out(places.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
        OldDisk& old = out[i];
        old.place = places[i];
        recovery::FailbackRequest& request = old.request;
        request.point = to_string(point.id);  // A group's point is judged once.
        request.disk = to_string(places[i].disk.disk);
        request.target.path = places[i].path;
        request.target.expected_identity = names[i].path;
        CW_TRY_ASSIGN(request.target.work_directory,
                      work_directory_of(options.work, places[i].path, places[i].disk.disk,
                                        places.size() > 1));
        request.reader.download_threads = opened.download_threads;
        request.cancelled = stop_requested;
        if (!hints[i].path.empty()) {
            CW_TRY_ASSIGN(old.hint, take_hint(cli, {hints[i].path, options.trust_hint},
                                              *opened.catalog, request));
        }
    }
    return out;
}

Result<void> lock_directories(Cli& cli, const FailbackWork& work, const std::vector<OldDisk>& disks,
                              WorkLocks& locks) {
    for (const OldDisk& old : disks) {
        const std::string& directory = old.request.target.work_directory;
        CW_TRY(name_full_disk(cli.seams.disk->create_directories(directory), old.place.path,
                              "failback"));
        CW_TRY(locks.take(work, directory));
    }
    return {};
}

std::vector<DiskId> back_of(const ReturnedDisks& returned, const PointId& point) {
    std::vector<DiskId> out;
    if (returned.half() && returned.point == point) {
        for (const ReturnedDisk& disk : returned.back()) {
            out.push_back(disk.disk);
        }
    }
    return out;
}

// The disks of one run, in their work directories.
Result<void> run_disks(Cli& cli, const OpenedCatalog& opened, MachineRecords& records,
                       const vault::PointEntry& point, std::vector<OldDisk>& disks,
                       recovery::FailbackContext context) {
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, records,
                                                  {.machine = machine,
                                                   .verb = Verb::failback,
                                                   .point = point.id,
                                                   .point_time = point.source_time},
                                                  "compared"));
    auto done = bring_back(disks, opened, point, context, *job);
    if (!done) {
        const auto record = records.load(machine);
        const std::string back = paths_of(disks, true);
        done.error().detail += record && record->returned.half()
                                   ? "; " + half_text(record->returned)
                               : back.empty() ? ""
                                              : "; back already: " + back;
    }
    CW_TRY(job->outcome(std::move(done)));
    JobEnd end;
    end.point = point.id;
    end.point_time = point.source_time;
    end.detail = paths_of(disks, false);
    CW_TRY_ASSIGN(const MachineRecord record, job->end(end));
    std::vector<ReturnedTarget> targets;
    for (OldDisk& old : disks) {
        targets.push_back({old.place.path, old.place.disk.name, old.report(), old.hint});
    }
    print_failback(cli, targets, machine, record);
    return {};
}

void take_resumed(std::vector<OldDisk>& disks, const std::vector<ResumedDisk>& resumed,
                  const PointId& point) {
    for (OldDisk& old : disks) {
        for (const ResumedDisk& one : resumed) {
            if (one.path == old.place.path && one.report.disk == old.place.disk.disk &&
                one.report.point == point) {
                old.resumed = one.report;
            }
        }
    }
}

Result<void> bring_back_all(Cli& cli, const FailbackOptions& options,
                            recovery::FailbackContext context,
                            const std::vector<ResumedDisk>& resumed, WorkLocks& locks) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(const MachineRecord record, records->load(opened.catalog->machine()));
    CW_TRY_ASSIGN(const auto* point, choose_point(opened, options, record.returned));
    CW_TRY(check_none_is_left(options, *opened.catalog, record.point, *point));
    CW_TRY_ASSIGN(const auto places, place_targets(disks_of(*opened.catalog, *point),
                                                   {.targets = options.work.targets,
                                                    .disk = options.from.disk,
                                                    .back = back_of(record.returned, point->id)}));
    CW_TRY(check_targets(cli, context.probe, places));
    note_left_out(*opened.catalog, *point);
    CW_TRY_ASSIGN(auto disks, prepare(cli, options, opened, *point, places));
    take_resumed(disks, resumed, point->id);
    auto done = lock_directories(cli, options.work, disks, locks);
    if (done) {
        done = run_disks(cli, opened, *records, *point, disks, context);
    }
    for (OldDisk& old : disks) {
        old.collected.reset();
        const std::string& directory = old.request.target.work_directory;
        if (locks.has(options.work, directory)) {  // Else it is another process's.
            remove_if_empty(options.work, directory);
        }
    }
    return done;
}

// The state is given up last: while a switch is half done there is nothing to give up.
Result<void> cancel(Cli& cli, const FailbackOptions& options, recovery::FailbackContext context,
                    WorkLocks& locks) {
    GivenUp given_up;
    CW_TRY_ASSIGN(given_up.dropped, drop_collected(options.work, context, locks));
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const MachineId machine = opened.catalog->machine();
    CW_TRY_ASSIGN(MachineRecord record, records->load(machine));
    given_up.returned = record.returned;
    if (record.state == MachineState::failing_back) {
        CW_TRY_ASSIGN(JobRun run, JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                                {.machine = machine, .verb = Verb::failback}));
        JobEnd end;
        end.given_up = true;
        end.detail = "given up";
        if (record.returned.half()) {
            end.detail += ": " + half_text(record.returned);
        }
        CW_TRY_ASSIGN(record, run.end(end));
    }
    given_up.state = record.state;
    print_given_up(cli, given_up);
    return {};
}

Result<void> failback(Cli& cli, const FailbackOptions& options) {
    CW_TRY(arm_crash_point_from_environment());
    if (options.work.targets.empty() && !options.cancel) {
        return fail(Errc::usage, "--target is required");
    }
    const auto probe = volume::make_system_probe();
    const recovery::FailbackContext context{*cli.seams.disk, *probe};
    WorkLocks locks;
    if (options.cancel) {
        return cancel(cli, options, context, locks);
    }
    // Ctrl-C before the switch drops what was collected; after it the switch is completed first.
    stop_on_signals();
    // Before anything else, and without the vault.
    CW_TRY_ASSIGN(const auto resumed, resume_switches(options.work, context, locks));
    auto done = bring_back_all(cli, options, context, resumed, locks);
    for (const ResumedDisk& one : resumed) {
        remove_if_empty(options.work, one.directory);
        if (!done) {
            done.error().detail += "; its interrupted switch was completed: " + one.path;
        }
    }
    return done;
}

}  // namespace

void add_failback_command(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "failback",
        "Turn a machine's old disks into what it is at a point, moving only what differs");
    auto options = std::make_shared<FailbackOptions>();
    add_point_options(*command, "--point", options->from);
    // One value each: MACHINE may come last.
    command
        ->add_option("--target", options->work.targets,
                     "The old disk: raw image file or block device; of a qcow2 image what a "
                     "qemu-storage-daemon shows of it. Of a machine with several disks: "
                     "DISK=PATH, once for each; or one at a time with --disk: it has failed back "
                     "when all of them are back at one point")
        ->allow_extra_args(false);
    command->add_option("--work-dir", options->work.directory,
                        "Where differences wait for the switch; for a file TARGET.failback");
    command
        ->add_option("--identity", options->work.identities,
                     "Refuse any other target: \"device SERIAL\" or \"file DEVICE INODE\"; of "
                     "several DISK=IDENTITY")
        ->allow_extra_args(false);
    command
        ->add_option("--hint", options->hints,
                     "With --trust-hint: file of `causeway changes`, the rest of the old disk is "
                     "not read; of several DISK=FILE. Or by hand: OFFSET LENGTH per line, or "
                     "nbdinfo's --map --json of dirty bitmaps")
        ->allow_extra_args(false);
    command->add_flag("--trust-hint", options->trust_hint,
                      "You know what cannot be shown: that the old disk is as it was at the "
                      "hint's point (never after a loss of power), or since when a hint made by "
                      "hand was recorded");
    command
        ->add_option("--without", options->without,
                     "A disk that the failover brought back and the point has not: the machine "
                     "goes on without it")
        ->allow_extra_args(false);
    command->add_flag("--cancel", options->cancel,
                      "Drop what an interrupted failback collected: a target that was not "
                      "switched is as it was. If others were, they no longer count");
    command->callback([&cli, command, options] {
        options->point_given = command->count("--point") > 0;
        cli.run([&] { return failback(cli, *options); });
    });
    add_changes_command(app, cli);
}

}  // namespace cw::appliance
