// causeway failover | export: a disk at a recovery point, from the vault to wherever it is to run.
#include "appliance/cli/cli.h"
#include "appliance/cli/formats.h"
#include "appliance/cli/point.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <poll.h>

namespace cw::appliance {
namespace {

struct FailoverOptions {
    PointChoice from;
    std::string output, format = "raw";
    bool force = false, verify = false, planned = false;
    std::string wait = "2min";  // planned: how long the last writes may take to arrive.
};

void print_report(const Cli& cli, const recovery::RestoreReport& report,
                  const FailoverOptions& options, const MachineRecord* record) {
    if (cli.json) {
        nlohmann::json out{{"point", to_string(report.point.id)},
                           {"point_time", recovery::time_text(report.point.source_time)},
                           {"disk", to_string(report.disk.disk)},
                           {"sequence", raw(report.disk.cut)},
                           {"output", options.output},
                           {"format", options.format},
                           {"image_bytes", report.written.image_bytes},
                           {"written_bytes", report.written.written_bytes},
                           {"fetched_bytes", report.fetched_bytes},
                           {"manifest", report.manifest_number}};
        if (report.written.sha256) {
            out["sha256"] = to_hex(*report.written.sha256);
        }
        if (record != nullptr) {
            out["state"] = name_of(record->state);
            out["job"] = to_string(record->jobs.back().id);
        }
        print_json(out);
        return;
    }
    std::printf("%s: %s as of %s, write %llu of disk %s; %s written, %s fetched\n",
                options.output.c_str(), config::format_bytes(report.written.image_bytes).c_str(),
                recovery::time_text(report.point.source_time).c_str(),
                static_cast<unsigned long long>(raw(report.disk.cut)),
                to_string(report.disk.disk).c_str(),
                config::format_bytes(report.written.written_bytes).c_str(),
                config::format_bytes(report.fetched_bytes).c_str());
    if (report.written.sha256) {
        std::printf("sha256 %s\n", to_hex(*report.written.sha256).c_str());
    }
    if (record != nullptr) {
        std::printf("the machine is %s: choose another point, or `causeway commit %s`\n",
                    std::string(name_of(record->state)).c_str(), options.from.machine.c_str());
    }
}

recovery::RestoreRequest request_of(const FailoverOptions& options, const OpenedCatalog& opened) {
    recovery::RestoreRequest request;
    request.machine = opened.catalog->machine();
    request.point = options.from.point;
    request.disk = options.from.disk;
    request.reader.download_threads = opened.download_threads;
    request.write.path = options.output;
    request.write.force = options.force;
    request.write.verify = options.verify;
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

// The source is stopped: waits until the newest point holds all that the vault has of it.
// Errors: transition_refused, after `wait`.
Result<OpenedCatalog> open_planned(Cli& cli, const FailoverOptions& options) {
    CW_TRY_ASSIGN(const std::uint64_t wait_ms, config::parse_duration_ms(options.wait));
    const Nanos deadline = cli.seams.clock->boot() + static_cast<std::int64_t>(wait_ms) * ns_per_ms;
    while (true) {
        CW_TRY_ASSIGN(OpenedCatalog opened, open_catalog(cli, options.from));
        CW_TRY_ASSIGN(const auto* point, opened.catalog->find_point("latest"));
        const auto missing = not_in(*opened.catalog, *point);
        if (!missing) {
            return opened;
        }
        if (cli.seams.clock->boot() - deadline >= 0) {
            return fail(Errc::transition_refused,
                        "planned failover: " + *missing +
                            "; stop the writers, wait for the next point, then try again");
        }
        ::poll(nullptr, 0, 500);
    }
}

// Before a disk is written: what cannot end well. Errors: file_exists.
Result<void> check_output(Cli& cli, const FailoverOptions& options) {
    if (options.format == "page-blob" || options.force) {
        return {};
    }
    CW_TRY_ASSIGN(const bool exists, cli.seams.disk->exists(options.output));
    return exists ? Result<void>(fail(Errc::file_exists, options.output)) : Result<void>{};
}

Result<void> failover(Cli& cli, const FailoverOptions& options) {
    CW_TRY_ASSIGN(const bool master_target, is_master_target(cli));
    if (master_target != options.output.empty()) {
        return fail(Errc::usage, master_target ? "a master target's disks are its outputs"
                                               : "--output is required");
    }
    if (master_target) {
        return target_failover(cli, options.from.machine, options.from.point);
    }
    if (options.planned && options.from.point != "latest") {
        return fail(Errc::usage, "a planned failover loses nothing: it takes the latest point");
    }
    CW_TRY_ASSIGN(const OpenedCatalog opened,
                  options.planned ? open_planned(cli, options) : open_catalog(cli, options.from));
    CW_TRY_ASSIGN(const auto* point, opened.catalog->find_point(options.from.point));
    CW_TRY(opened.catalog->find_disk(*point, options.from.disk));
    CW_TRY(check_output(cli, options));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, *records,
                                                  {.machine = opened.catalog->machine(),
                                                   .verb = Verb::failover,
                                                   .point = point->id,
                                                   .point_time = point->source_time},
                                                  "restored"));
    recovery::RestoreRequest request = request_of(options, opened);
    request.point = to_string(point->id);
    CW_TRY_ASSIGN(const auto report,
                  job->outcome(write_disk(cli, opened, request, options.format,
                                          job->progress("writing " + options.output))));
    JobEnd end;
    end.point = point->id;
    end.point_time = point->source_time;
    end.manifest = report.manifest_number;
    end.detail = options.format + " " + options.output;
    CW_TRY_ASSIGN(const MachineRecord record, job->end(end));
    print_report(cli, report, options, &record);
    return {};
}

Result<void> export_disk(Cli& cli, const FailoverOptions& options) {
    if (options.output.empty()) {
        return fail(Errc::usage, "export needs --output");
    }
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    CW_TRY(check_output(cli, options));
    ProgressLine progress(*cli.seams.clock, "exported");
    CW_TRY_ASSIGN(
        const auto report,
        write_disk(cli, opened, request_of(options, opened), options.format,
                   [&](std::uint64_t done, std::uint64_t all) { progress.update(done, all); }));
    progress.finish();
    print_report(cli, report, options, nullptr);
    return {};
}

void add_options(CLI::App& command, FailoverOptions& options) {
    add_point_options(command, "--point", options.from);
    command.add_option("--output", options.output,
                       "File or block device to write; page-blob: CONTAINER/NAME in the account");
    command
        .add_option("--format", options.format,
                    "raw, vhd (fixed, as Azure wants it), qcow2, vhdx, vmdk, page-blob")
        ->check(CLI::IsMember({"raw", "vhd", "qcow2", "vhdx", "vmdk", "page-blob"}))
        ->capture_default_str();
    command.add_flag("--force", options.force, "Replace an existing file, write to a device");
    command.add_flag("--verify", options.verify, "Read back what was written and compare");
}

}  // namespace

void add_recovery_commands(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "failover", "Bring a disk back as it was at a point; needs the vault and its key only");
    auto options = std::make_shared<FailoverOptions>();
    add_options(*command, *options);
    command->add_flag("--planned", options->planned,
                      "The source is stopped: refuse unless the newest point holds every write");
    command->add_option("--wait", options->wait, "--planned: how long to wait for that point")
        ->capture_default_str();
    command->callback([&cli, options] { cli.run([&] { return failover(cli, *options); }); });

    CLI::App* export_command = app.add_subcommand(
        "export", "Write a disk at a point without a failover: nothing is recorded");
    auto exported = std::make_shared<FailoverOptions>();
    add_options(*export_command, *exported);
    export_command->get_option("--output")->required();
    export_command->callback(
        [&cli, exported] { cli.run([&] { return export_disk(cli, *exported); }); });
}

}  // namespace cw::appliance
