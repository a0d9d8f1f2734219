// causeway drill: an unattended test failover with a signed receipt.
#include "appliance/operator/drill.h"

#include "appliance/cli/cli.h"
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/operator/scratch_directory.h"
#include "base/given_file.h"
#include "base/log.h"

#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

constexpr std::size_t receipt_bytes_max = 1 * mib;
constexpr std::uint64_t boot_memory_max = 1ULL << 40;
// Nothing failed, but whoever drills unattended would never learn that nothing was proven: somebody
// has to say how, or that bytes are enough.
constexpr int unproven_exit_code = 3;

struct DrillArguments {
    std::string machine, point = "latest", receipt, check, scratch, expect, timeout = "2min",
                         memory = "512MiB", accelerator = "tcg", firmware;
    bool boot = false, bytes_suffice = false;
};

Result<void> check(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    // Only the vault's public key is needed: no KEK, so an auditor may do this.
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const vault::VaultIdentity vault, vault::open_vault(*store));
    CW_TRY_ASSIGN(const ByteVector file, read_given_file(*cli.seams.disk, path, receipt_bytes_max));
    CW_TRY_ASSIGN(const CheckedReceipt receipt, check_receipt(std::string(as_text(file)), vault));
    const nlohmann::json text = nlohmann::json::parse(receipt.text, nullptr, false);
    if (cli.json) {
        print_json({{"valid", true}, {"signer", to_string(receipt.signer)}, {"receipt", text}});
        return {};
    }
    std::printf("valid: signed by %s, certified by vault %s\n%s\n",
                to_string(receipt.signer).c_str(), to_string(vault.id).c_str(),
                text.dump(2, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
    return {};
}

std::string scratch_of(const DrillArguments& arguments) {
    return arguments.scratch.empty() ? temporary_directory() : arguments.scratch;
}

// One that says more is never replaced by one that says less.
std::string receipt_path(const DrillArguments& arguments, const config::Settings& settings,
                         const DrillReport& report) {
    return arguments.receipt.empty()
               ? settings.server_state_dir + "/receipts/" + arguments.machine + "-" +
                     to_string(report.point.id) + (report.checked ? ".json" : "-bytes.json")
               : arguments.receipt;
}

// Two drills of a point may end at once: each writes a file of its own, and the later one stays.
Result<void> write_receipt(Cli& cli, const std::string& path, const std::string& receipt) {
    const std::string parent = std::filesystem::absolute(path).parent_path().string();
    const std::string own = path + "." + to_string(make_id<JobId>(*cli.seams.random));
    CW_TRY(cli.seams.disk->create_directories(parent));
    CW_TRY(write_file_atomically(*cli.seams.disk, own, as_bytes(receipt)));
    if (auto named = cli.seams.disk->rename(own, path); !named) {
        static_cast<void>(cli.seams.disk->remove(own));
        return named;
    }
    return cli.seams.disk->sync_directory(parent);
}

// What makes more of a point whose bytes alone are proven.
std::string next_after_bytes(const DrillArguments& arguments, const DrillReport& report) {
    const std::string again =
        "causeway drill " + arguments.machine + " --point " + to_string(report.point.id);
    return again + " --boot --expect TEXT; if its bytes are enough: " + again + " --bytes-suffice";
}

void print_report(const Cli& cli, const DrillReport& report, const std::string& path,
                  const std::string& next) {
    if (cli.json) {
        nlohmann::json findings = nlohmann::json::array();
        for (const DrillFinding& finding : report.findings) {
            findings.push_back(json_of(finding));
        }
        nlohmann::json out{{"point", to_string(report.point.id)},
                           {"point_time", recovery::time_text(report.point.source_time)},
                           {"bytes", report.bytes},
                           {"checked", report.checked},
                           {"proven", next.empty()},
                           {"findings", findings},
                           {"receipt", path}};
        if (!next.empty()) {
            out["next"] = next;
        }
        print_json(out);
        return;
    }
    std::printf("point %s of %s: %s\n", to_string(report.point.id).c_str(),
                recovery::time_text(report.point.source_time).c_str(),
                report.checked ? "proven"
                : next.empty() ? "its bytes are proven, not all of its file systems"
                               : "its bytes are proven, not all of its file systems: the point "
                                 "does not count as proven");
    for (const DrillFinding& finding : report.findings) {
        std::printf("  %s\n", escape_for_display(text_of(finding), job_text_max).c_str());
    }
    std::printf("receipt %s\n", path.c_str());
    if (!next.empty()) {
        std::printf("next: %s\n", next.c_str());
    }
}

Result<void> drill(Cli& cli, const DrillArguments& arguments) {
    if (!arguments.check.empty()) {
        return check(cli, arguments.check);
    }
    if (arguments.machine.empty() || (arguments.boot && arguments.expect.empty())) {
        return fail(Errc::usage, "MACHINE is needed, and --expect with --boot");
    }
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    CW_TRY_ASSIGN(const std::uint64_t timeout_ms, config::parse_duration_ms(arguments.timeout));
    CW_TRY_ASSIGN(const std::uint64_t memory, config::parse_bytes(arguments.memory));
    if (memory / mib < 16 || memory > boot_memory_max) {
        return fail(Errc::usage, "--boot-memory " + arguments.memory + ": 16 MiB to 1 TiB");
    }
    if (!arguments.firmware.empty()) {
        CW_TRY_ASSIGN(const bool there, cli.seams.disk->exists(arguments.firmware));
        if (!there) {
            return fail(Errc::not_found, "--boot-firmware " + arguments.firmware);
        }
    }
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, arguments.machine, false));
    CW_TRY_ASSIGN(const auto* point, find_point(opened, arguments.point));
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(const auto job, ShownJob::begin(cli, *records,
                                                  {.machine = opened.catalog->machine(),
                                                   .verb = Verb::drill,
                                                   .point = point->id,
                                                   .point_time = point->source_time},
                                                  "drilled"));
    stop_on_signals();  // From here on there is something to tidy up.
    DrillOptions options;
    options.scratch = scratch_of(arguments);
    options.boot = arguments.boot;
    options.expect = arguments.expect;
    options.cancelled = stop_requested;
    options.boot_memory_mib = memory / mib;
    options.boot_accelerator = arguments.accelerator;
    options.boot_firmware = arguments.firmware;
    options.boot_timeout_ns = static_cast<std::int64_t>(timeout_ms) * ns_per_ms;
    CW_TRY_ASSIGN(
        const auto report,
        job->outcome(drill_point(opened, cli.seams, *point, options,
                                 [&](const std::string& step, std::uint64_t done,
                                     std::uint64_t total) { job->note(step, done, total); })));
    CW_TRY_ASSIGN(
        const vault::ServerSigner signer,
        job->outcome(vault::make_server_signer(*opened.store, *opened.access.kek, *cli.seams.random,
                                               make_id<ServerId>(*cli.seams.random))));
    const std::string path = receipt_path(arguments, settings, report);
    CW_TRY(job->outcome(write_receipt(
        cli, path, make_receipt(report, opened.access.identity, *opened.catalog, signer))));
    const bool proven = report.checked || arguments.bytes_suffice;
    JobEnd end;
    if (proven) {
        end.point = point->id;
        end.point_time = point->source_time;
    }
    end.detail = (proven ? "receipt " : "bytes only, not counted as proven; receipt ") + path;
    CW_TRY(job->end(end));
    print_report(cli, report, path, proven ? "" : next_after_bytes(arguments, report));
    if (!proven) {
        cli.exit_code = unproven_exit_code;
    }
    return {};
}

}  // namespace

void add_drill_command(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "drill",
        "Unattended test failover: restore, check, boot; leaves a signed receipt. Ends with 0 if "
        "the point is proven, 1 if it fails, 3 if its bytes are right but nothing says that they "
        "are enough");
    auto arguments = std::make_shared<DrillArguments>();
    command->add_option("MACHINE", arguments->machine, "Its id");
    add_point_option(*command, "--point", arguments->point);
    command->add_option("--receipt", arguments->receipt,
                        "File; else in state_dir/receipts, MACHINE-POINT.json, or "
                        "MACHINE-POINT-bytes.json if its bytes alone are proven");
    command->add_option("--scratch", arguments->scratch,
                        "Directory with room for the disks; else the system's for temporary files");
    command->add_flag("--boot", arguments->boot, "Boot the disks in QEMU, without a network");
    command->add_option("--expect", arguments->expect, "--boot: text on the serial console");
    command->add_option("--boot-timeout", arguments->timeout, "--boot: until it has said it")
        ->capture_default_str();
    command->add_option("--boot-memory", arguments->memory, "--boot: of the machine")
        ->capture_default_str();
    command
        ->add_option("--boot-accel", arguments->accelerator,
                     "--boot: kvm is fast, tcg runs everywhere")
        ->check(CLI::IsMember({"tcg", "kvm"}))
        ->capture_default_str();
    command->add_option("--boot-firmware", arguments->firmware,
                        "--boot: a firmware's file, as /usr/share/ovmf/OVMF.fd of a machine that "
                        "boots by UEFI; else a BIOS");
    command->add_flag(
        "--bytes-suffice", arguments->bytes_suffice,
        "The point counts as proven although not every file system of it could be checked");
    command->add_option("--check", arguments->check,
                        "Check this receipt's signature against the vault, and show it");
    command->callback([&cli, arguments] { cli.run([&] { return drill(cli, *arguments); }); });
}

}  // namespace cw::appliance
