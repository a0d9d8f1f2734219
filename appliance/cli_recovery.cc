// causeway failover: a disk at a recovery point, from the vault to a file or device.
#include "appliance/cli.h"
#include "recovery/restore.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

struct FailoverOptions {
    std::string machine, point = "latest", disk, output, format = "raw";
    bool force = false, verify = false, accept_stale = false;
};

void print_report(const Cli& cli, const recovery::RestoreReport& report,
                  const std::string& output) {
    if (cli.json) {
        nlohmann::json out{{"point", to_string(report.point.id)},
                           {"point_time", recovery::time_text(report.point.source_time)},
                           {"disk", to_string(report.disk.disk)},
                           {"sequence", raw(report.disk.cut)},
                           {"output", output},
                           {"image_bytes", report.written.image_bytes},
                           {"written_bytes", report.written.written_bytes},
                           {"fetched_bytes", report.fetched_bytes},
                           {"manifest", report.manifest_number}};
        if (report.written.sha256) {
            out["sha256"] = to_hex(*report.written.sha256);
        }
        std::puts(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
        return;
    }
    std::printf("%s: %s as of %s, write %llu of disk %s; %s written, %s fetched\n", output.c_str(),
                config::format_bytes(report.written.image_bytes).c_str(),
                recovery::time_text(report.point.source_time).c_str(),
                static_cast<unsigned long long>(raw(report.disk.cut)),
                to_string(report.disk.disk).c_str(),
                config::format_bytes(report.written.written_bytes).c_str(),
                config::format_bytes(report.fetched_bytes).c_str());
    if (report.written.sha256) {
        std::printf("sha256 %s\n", to_hex(*report.written.sha256).c_str());
    }
}

Result<void> failover(Cli& cli, const FailoverOptions& options) {
    CW_TRY_ASSIGN(const OpenedCatalog opened,
                  open_catalog(cli, options.machine, options.accept_stale));
    recovery::RestoreRequest request;
    request.machine = opened.catalog->machine();
    request.point = options.point;
    request.disk = options.disk;
    request.reader.download_threads = opened.download_threads;
    request.write.path = options.output;
    request.write.format =
        options.format == "vhd" ? recovery::ImageFormat::vhd : recovery::ImageFormat::raw;
    request.write.force = options.force;
    request.write.verify = options.verify;
    ProgressLine progress(*cli.seams.clock, "restored");
    CW_TRY_ASSIGN(const auto report,
                  recovery::restore_disk(
                      *opened.store, *opened.catalog, *cli.seams.disk, request,
                      [&](std::uint64_t done, std::uint64_t all) { progress.update(done, all); }));
    progress.finish();
    print_report(cli, report, options.output);
    return {};
}

}  // namespace

void add_recovery_commands(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "failover", "Bring a disk back as it was at a point; needs the vault and its key only");
    auto options = std::make_shared<FailoverOptions>();
    command->add_option("MACHINE", options->machine, "Its id")->required();
    command
        ->add_option("--point", options->point,
                     "latest, latest-app, an id (or its beginning), or a UTC time")
        ->capture_default_str();
    command->add_option("--disk", options->disk, "Id or name; not needed if there is only one");
    command->add_option("--output", options->output, "File or block device to write")->required();
    command->add_option("--format", options->format, "raw, or vhd (fixed, as Azure wants it)")
        ->check(CLI::IsMember({"raw", "vhd"}))
        ->capture_default_str();
    command->add_flag("--force", options->force, "Replace an existing file, write to a device");
    command->add_flag("--verify", options->verify, "Read back what was written and compare");
    command->add_flag("--accept-stale", options->accept_stale,
                      "Go on although the vault is older than what was committed");
    command->callback([&cli, options] { cli.run([&] { return failover(cli, *options); }); });
}

}  // namespace cw::appliance
