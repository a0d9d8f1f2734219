// causeway failover | export: disks at a recovery point, from the vault to wherever they are to
// run.
#include "appliance/cli/cli.h"
#include "appliance/cli/formats.h"
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/cli/written_disks.h"
#include "appliance/operator/outputs.h"
#include "appliance/operator/own_files.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/net.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

struct RestoreOptions {
    PointChoice from;
    std::string format = "raw";
    bool force = false, verify = false;
};

struct FailoverOptions : RestoreOptions {
    std::vector<std::string> outputs;  // As OutputRequest has them.
    std::string directory;
    bool planned = false;
    std::string wait = "2min";  // planned: how long the last writes may take to arrive.
    std::string plan_run;       // name_of_tries() of what this is a step of; else empty.
};

struct ExportOptions : RestoreOptions {
    std::string output;
};

recovery::RestoreRequest request_of(const RestoreOptions& options, const OpenedCatalog& opened) {
    recovery::RestoreRequest request;
    request.machine = opened.catalog->machine();
    request.disk = options.from.disk;
    request.reader.download_threads = opened.download_threads;
    request.write.force = options.force;
    request.write.verify = options.verify;
    request.write.cancelled = stop_requested;
    return request;
}

// What a planned failover would lose at `point`: a disk with writes in the vault that it has not.
std::optional<std::string> not_in(const recovery::Catalog& catalog,
                                  const vault::PointEntry& point) {
    for (const vault::DiskEntry& disk : catalog.state().newest.disks) {
        const auto cut = std::ranges::find(point.cuts, disk.disk, &vault::PointEntry::Cut::disk);
        if (cut == point.cuts.end() || cut->generation != disk.generation ||
            cut->cut != disk.committed) {
            return "disk " + to_string(disk.disk) + " has writes up to " +
                   std::to_string(raw(disk.committed)) + " in the vault, the newest point " +
                   (cut == point.cuts.end() ? "does not have it"
                                            : "ends at " + std::to_string(raw(cut->cut)));
        }
    }
    return std::nullopt;
}

// The source is stopped: waits until the newest point holds all that the site has of it, and the
// site can tell.
// Errors: transition_refused, after `wait`.
Result<OpenedCatalog> open_planned(Cli& cli, const FailoverOptions& options) {
    CW_TRY_ASSIGN(const std::uint64_t wait_ms, config::parse_duration_ms(options.wait));
    const Nanos deadline = cli.seams.clock->boot() + static_cast<std::int64_t>(wait_ms) * ns_per_ms;
    while (true) {
        CW_TRY_ASSIGN(OpenedCatalog opened, open_catalog(cli, options.from));
        CW_TRY_ASSIGN(const auto* point, opened.catalog->find_point("latest"));
        auto missing = not_in(*opened.catalog, *point);
        if (!opened.site->knows_all_received()) {
            missing = "the daemon does not answer: what it has taken since is not known";
        }
        if (!missing) {
            return opened;
        }
        if (cli.seams.clock->boot() - deadline >= 0) {
            return fail(Errc::transition_refused,
                        "planned failover: " + *missing +
                            "; stop the writers, wait for the next point, then try again. A "
                            "failover in place that has begun goes on without --planned");
        }
        ::poll(nullptr, 0, 500);
    }
}

// Before a disk is written: what cannot end well. Errors: file_exists.
Result<void> check_output(Cli& cli, const RestoreOptions& options, const std::string& output) {
    if (is_in_azure(options.format) || options.force) {
        return {};
    }
    CW_TRY_ASSIGN(const bool exists, cli.seams.disk->exists(output));
    return exists ? Result<void>(fail(Errc::file_exists, output)) : Result<void>{};
}

// A larger device is as good, but its owner should know: the second header of a GPT, for one, is
// looked for at a device's end.
void note_room_behind(const std::string& output, std::uint64_t disk_bytes) {
    std::error_code ignored;
    if (!std::filesystem::is_block_file(output, ignored)) {
        return;
    }
    const Fd device(::open(output.c_str(), O_RDONLY | O_CLOEXEC));
    const off_t end = device.valid() ? ::lseek(device.get(), 0, SEEK_END) : -1;
    if (end > 0 && static_cast<std::uint64_t>(end) > disk_bytes) {
        std::fprintf(stderr, "note: %s is larger than the disk: its last %llu bytes stay\n",
                     escape_for_display(output).c_str(),
                     static_cast<unsigned long long>(static_cast<std::uint64_t>(end) - disk_bytes));
    }
}

Result<void> check_usage(const FailoverOptions& options, bool master_target) {
    const bool placed = !options.outputs.empty() || !options.directory.empty();
    if (!master_target && !placed) {
        return fail(Errc::usage, "--output or --output-dir is required");
    }
    const bool as_files = !options.from.disk.empty() || options.force || options.verify ||
                          options.format != RestoreOptions{}.format;
    if (!placed && as_files) {
        return fail(Errc::usage,
                    "--disk, --format, --force and --verify are of what is written to --output or "
                    "--output-dir; without these every target of the machine becomes the point");
    }
    if (options.planned && options.from.point != "latest") {
        return fail(Errc::usage, "a planned failover loses nothing: it takes the latest point");
    }
    return {};
}

Result<std::vector<DiskOutput>> outputs_of(const FailoverOptions& options,
                                           const recovery::Catalog& catalog,
                                           const vault::PointEntry& point) {
    CW_TRY_ASSIGN(auto outputs, place_outputs(catalog, point,
                                              {.outputs = options.outputs,
                                               .directory = options.directory,
                                               .extension = extension_of(options.format),
                                               .disk = options.from.disk}));
    note_left_out(catalog, point);
    return outputs;
}

std::string summary(const std::string& format, const std::vector<DiskOutput>& outputs) {
    std::string text = format;
    for (const DiskOutput& output : outputs) {
        // Jobs are read from elsewhere.
        text += " " + (is_in_azure(format) ? output.path
                                           : std::filesystem::absolute(output.path).string());
    }
    return text;
}

// Which of the outputs are replaced: what a failover of this machine had finished before it failed
// or was killed. Errors: file_exists (somebody else's).
Result<MarkedFiles> replaced_outputs(Cli& cli, const FailoverOptions& options,
                                     MachineRecords& records, const MachineId& machine,
                                     const std::vector<DiskOutput>& outputs) {
    CW_TRY_ASSIGN(const MachineRecord stored, records.load(machine));
    auto replaced = own_files(as_it_stands(stored, cli.seams.clock->wall()), options.plan_run,
                              paths_of(outputs));
    for (const DiskOutput& output : outputs) {
        if (!replaced.contains(output.path)) {
            CW_TRY(check_output(cli, options, output.path));
        }
    }
    return replaced;
}

// One after the other, each with all the threads there are. Errors: those of write_disk(), with
// what had been written before.
Result<std::vector<WrittenDisk>> write_disks(Cli& cli, const OpenedCatalog& opened,
                                             const RestoreOptions& options,
                                             const vault::PointEntry& point,
                                             const std::vector<DiskOutput>& outputs,
                                             const MarkedFiles& replaced, ShownJob& job) {
    std::vector<WrittenDisk> done;
    for (const DiskOutput& output : outputs) {
        recovery::RestoreRequest request = request_of(options, opened);
        request.point = to_string(point.id);
        request.disk = to_string(output.disk.disk);
        request.write.path = output.path;
        if (const auto own = replaced.find(output.path); own != replaced.end()) {
            request.write.may_replace = [own] { return mark_of(own->first) == own->second; };
        }
        request.write.about_to_name = [&](const std::string& partial) {
            job.run().note_whole(mark_before_name(partial));
        };
        note_room_behind(output.path, output.disk.size_bytes);
        auto report = write_disk(cli, opened, request, options.format,
                                 job.progress("writing " + output.path));
        if (!report) {
            Error error = report.error();
            for (const WrittenDisk& before : done) {
                error.detail +=
                    (&before == done.data() ? "; whole already: " : ", ") + before.output;
            }
            return std::unexpected(std::move(error));
        }
        CW_CRASH_POINT("failover.disk_named");
        done.push_back({output.path, std::move(*report)});
        job.run().note_whole(mark_of(output.path));
        CW_CRASH_POINT("failover.disk_written");
    }
    return done;
}

// Whether `which` can mean this point alone: neither a time nor the newest of a kind is a name.
bool is_named(std::string which, const vault::PointEntry& point) {
    std::ranges::transform(which, which.begin(), [](unsigned char c) { return std::tolower(c); });
    return to_string(point.id).starts_with(which) || which.starts_with("group:");
}

Result<void> failover(Cli& cli, const FailoverOptions& options) {
    CW_TRY(arm_crash_point_from_environment());
    CW_TRY_ASSIGN(const bool master_target, is_master_target(cli));
    CW_TRY(check_usage(options, master_target));
    CW_TRY_ASSIGN(const OpenedCatalog opened,
                  options.planned ? open_planned(cli, options) : open_catalog(cli, options.from));
    CW_TRY_ASSIGN(const auto* point, find_point(opened, options.from.point));
    if (options.outputs.empty() && options.directory.empty()) {
        return target_failover(cli, opened, *point, is_named(options.from.point, *point));
    }
    CW_TRY_ASSIGN(const auto outputs, outputs_of(options, *opened.catalog, *point));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    const JobRequest wanted{.machine = opened.catalog->machine(),
                            .verb = Verb::failover,
                            .point = point->id,
                            .point_time = point->source_time,
                            .detail = summary(options.format, outputs),
                            .plan_run = options.plan_run};
    CW_TRY_ASSIGN(const auto replaced,
                  replaced_outputs(cli, options, *records, wanted.machine, outputs));
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, *records, wanted, "restored"));
    stop_on_signals();  // From here on there is something to tidy up.
    CW_TRY_ASSIGN(const auto disks,
                  job->outcome(write_disks(cli, opened, options, *point, outputs, replaced, *job)));
    JobEnd end;
    end.point = point->id;
    end.point_time = point->source_time;
    end.manifest = disks.front().report.manifest_number;
    end.detail = wanted.detail;
    CW_TRY_ASSIGN(const MachineRecord record, job->end(end));
    print_written(cli, disks, options.format, options.from.machine, &record);
    return {};
}

Result<void> export_disk(Cli& cli, const ExportOptions& options) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    CW_TRY(check_output(cli, options, options.output));
    ProgressLine progress(*cli.seams.clock, "exported");
    CW_TRY_ASSIGN(const auto* point, find_point(opened, options.from.point));
    stop_on_signals();  // From here on there is something to tidy up.
    recovery::RestoreRequest request = request_of(options, opened);
    request.point = to_string(point->id);
    request.write.path = options.output;
    CW_TRY_ASSIGN(auto report, write_disk(cli, opened, request, options.format,
                                          [&](std::uint64_t done, std::uint64_t all) {
                                              progress.update(done, all);
                                          }));
    progress.finish();
    note_room_behind(options.output, report.disk.size_bytes);
    print_written(cli, {{options.output, std::move(report)}}, options.format, options.from.machine,
                  nullptr);
    return {};
}

void add_options(CLI::App& command, RestoreOptions& options) {
    add_point_options(command, "--point", options.from);
    command
        .add_option(
            "--format", options.format,
            "raw, vhd (fixed, as Azure wants it), qcow2, vhdx, vmdk, page-blob, managed-disk")
        ->check(CLI::IsMember({"raw", "vhd", "qcow2", "vhdx", "vmdk", "page-blob", "managed-disk"}))
        ->capture_default_str();
    command.add_flag("--force", options.force, "Replace an existing file, write to a device");
    command.add_flag("--verify", options.verify, "Read back what was written and compare");
}

constexpr const char* output_help =
    "File or block device to write; page-blob: CONTAINER/NAME in the account; managed-disk: the "
    "file that holds the disk's write SAS";

}  // namespace

void add_recovery_commands(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "failover",
        "Bring a machine's disks back as they were at a point; needs the vault and its key only");
    auto options = std::make_shared<FailoverOptions>();
    add_options(*command, *options);
    command->add_option(
        "--output", options->outputs,
        std::string(output_help) + ". Of a machine with several disks: DISK=PATH, once for each");
    command->add_option("--output-dir", options->directory,
                        "Every disk to a file of its name in this directory. At a second site "
                        "without either: the targets become the point, in place");
    command->add_flag("--planned", options->planned,
                      "The source is stopped: refuse unless the newest point holds every write");
    command->add_option("--wait", options->wait, "--planned: how long to wait for that point")
        ->capture_default_str();
    command
        ->add_option("--plan-run", options->plan_run,
                     "Said by `causeway plan run`: the run that this is a step of")
        ->group("");
    command->callback([&cli, options] { cli.run([&] { return failover(cli, *options); }); });

    CLI::App* export_command = app.add_subcommand(
        "export", "Write one disk at a point without a failover: nothing is recorded");
    auto exported = std::make_shared<ExportOptions>();
    add_options(*export_command, *exported);
    export_command->add_option("--output", exported->output, output_help)->required();
    export_command->callback(
        [&cli, exported] { cli.run([&] { return export_disk(cli, *exported); }); });
}

}  // namespace cw::appliance
