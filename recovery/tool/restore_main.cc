// causeway-restore: vault + key → list, verify, write a disk at a point. It is the promise that
// neither the server nor its maker is needed.
#include "base/core_files.h"
#include "base/log.h"
#include "base/standard_streams.h"
#include "recovery/tool/tool.h"

#include <cstdio>

#include <CLI/CLI.hpp>

namespace cw::recovery::tool {
namespace {

struct Command {
    VaultOptions vault;
    bool json = false;
    std::string machine, disk, point = "latest", output, format = "raw", depth = "sampled";
    bool force = false, verify = false;
};

Result<std::vector<MachineId>> machines_of(const Command& command, blob::BlobStore& store) {
    if (command.machine.empty()) {
        return vault::list_machines(store);
    }
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(command.machine));
    return std::vector{machine};
}

Result<Catalog> open_catalog(const Command& command, OpenVault& vault, const MachineId& machine,
                             bool accept_stale = false) {
    CW_TRY_ASSIGN(CatalogOptions options, catalog_options(command.vault));
    options.accept_stale |= accept_stale;
    return Catalog::open(*vault.store, *vault.kek, machine, options);
}

MachineSummary summary_of(const Command& command, OpenVault& vault, const MachineId& machine) {
    MachineSummary summary;
    summary.machine = machine;
    const auto catalog = open_catalog(command, vault, machine);
    if (!catalog) {
        summary.error = to_string(catalog.error());
        return summary;
    }
    const auto points = catalog->points();
    summary.name = catalog->state().newest.machine_name;
    summary.points = points.size();
    summary.newest = points.empty() ? "" : time_text(points.back()->source_time);
    return summary;
}

Result<int> list(const Command& command, Seams& seams) {
    CW_TRY_ASSIGN(OpenVault vault, open_vault(command.vault, seams));
    CW_TRY_ASSIGN(const auto machines, machines_of(command, *vault.store));
    if (!command.machine.empty()) {
        CW_TRY_ASSIGN(const Catalog catalog, open_catalog(command, vault, machines.front()));
        print_catalog(catalog, command.json);
        return 0;
    }
    std::vector<MachineSummary> summaries;
    int code = 0;
    for (const MachineId& machine : machines) {
        summaries.push_back(summary_of(command, vault, machine));
        code = summaries.back().error.empty() ? code : 1;
    }
    print_machines(summaries, command.json);
    return code;
}

Result<int> verify(const Command& command, Seams& seams) {
    CW_TRY_ASSIGN(OpenVault vault, open_vault(command.vault, seams));
    CW_TRY_ASSIGN(const auto machines, machines_of(command, *vault.store));
    VerifyOptions options;
    options.download_threads = command.vault.threads;
    options.depth = command.depth == "full"    ? VerifyDepth::full
                    : command.depth == "index" ? VerifyDepth::index
                                               : VerifyDepth::sampled;
    std::vector<std::pair<MachineId, VerifyReport>> reports;
    Verdict worst = Verdict::intact;
    for (const MachineId& machine : machines) {
        // What is lost is a finding here, whoever asks.
        CW_TRY_ASSIGN(const Catalog catalog, open_catalog(command, vault, machine, true));
        ProgressText progress(*seams.clock, "segments", false);
        CW_TRY_ASSIGN(VerifyReport report,
                      verify_machine(*vault.store, catalog, options, *seams.random,
                                     [&progress](std::uint64_t done, std::uint64_t total) {
                                         progress.update(done, total);
                                     }));
        worst = worst == Verdict::unusable            ? worst
                : report.verdict() == Verdict::intact ? worst
                                                      : report.verdict();
        reports.emplace_back(machine, std::move(report));
    }
    print_verify(reports, command.json);
    return exit_code_of(worst);
}

Result<int> restore(const Command& command, Seams& seams) {
    RestoreRequest request;
    CW_TRY_ASSIGN(request.machine, parse_id<MachineId>(command.machine));
    CW_TRY_ASSIGN(request.catalog, catalog_options(command.vault));
    request.point = command.point;
    request.disk = command.disk;
    request.reader.download_threads = command.vault.threads;
    request.write.path = command.output;
    request.write.format = command.format == "vhd" ? ImageFormat::vhd : ImageFormat::raw;
    request.write.force = command.force;
    request.write.verify = command.verify;
    CW_TRY_ASSIGN(OpenVault vault, open_vault(command.vault, seams));
    RestoreReport report;
    {
        ProgressText progress(*seams.clock, command.output, true);
        CW_TRY_ASSIGN(report, restore_disk(*vault.store, *vault.kek, *seams.disk, request,
                                           [&progress](std::uint64_t done, std::uint64_t total) {
                                               progress.update(done, total);
                                           }));
    }
    print_restore(report, command.output, command.json);
    return 0;
}

void add_vault_options(CLI::App& app, Command& command) {
    VaultOptions& vault = command.vault;
    app.add_option("--vault", vault.vault,
                   "https://ACCOUNT.blob.core.windows.net/PREFIX or a "
                   "directory")
        ->required();
    app.add_option("--kek", vault.kek_file,
                   "file with the key-encryption key: 64 hex digits, or a recovery kit")
        ->required();
    app.add_option("--auth", vault.auth,
                   "managed-identity, arc, client-secret, sas, shared-key, fixed-token or "
                   "emulator");
    app.add_option("--sas-file", vault.sas_file, "file with a shared access signature");
    app.add_option("--key-file", vault.key_file, "file with the storage account's key");
    app.add_option("--client-secret-file", vault.client_secret_file, "file with an app's secret");
    app.add_option("--token-file", vault.token_file, "file with a bearer token");
    app.add_option("--tenant", vault.tenant, "directory tenant of --client-secret-file");
    app.add_option("--client-id", vault.client_id, "application or user-assigned identity");
    app.add_option("--ca-file", vault.ca_file, "trusted certificates (PEM)");
    app.add_option("--proxy", vault.proxy, "http://host:port");
    app.add_flag("--no-crc64", vault.no_crc64, "for emulators that know no CRC-64, as Azurite");
    app.add_option("--threads", vault.threads, "requests in flight")->check(CLI::Range(1, 32));
    app.add_option("--witness", vault.witness,
                   "number:hash of a manifest known to be committed: a vault older than that is "
                   "refused");
    app.add_flag("--accept-stale", vault.accept_stale,
                 "read as far as the history can be proven, although its end is lost");
    app.add_flag("--json", command.json, "results as JSON");
}

void add_commands(CLI::App& app, Command& command) {
    app.require_subcommand(1);
    CLI::App* const list_command = app.add_subcommand("list",
                                                      "machines; or one machine's disks "
                                                      "and points");
    list_command->add_option("--machine", command.machine, "id");
    CLI::App* const verify_command = app.add_subcommand("verify", "prove points from the vault");
    verify_command->add_option("--machine", command.machine, "id; all machines if not given");
    verify_command->add_option("--level,--depth", command.depth, "index, sampled (default) or full")
        ->check(CLI::IsMember({"index", "sampled", "full"}));
    CLI::App* const restore_command = app.add_subcommand("restore", "write a disk at a point");
    restore_command->add_option("--machine", command.machine, "id")->required();
    restore_command->add_option("--disk", command.disk, "id or name; not needed if there is one");
    restore_command->add_option("--point", command.point,
                                "latest (default), latest-app, id, or UTC time");
    restore_command->add_option("--output", command.output, "file or block device")->required();
    restore_command->add_option("--format", command.format, "raw (default) or vhd")
        ->check(CLI::IsMember({"raw", "vhd"}));
    restore_command->add_flag("--force", command.force, "replace a file, overwrite a device");
    restore_command->add_flag("--verify", command.verify, "read everything back and compare");
    for (CLI::App* const each : {list_command, verify_command, restore_command}) {
        each->fallthrough();  // Options of the vault may follow the command.
    }
}

int run(int argc, char** argv) {
    CLI::App app{
        "Lists, verifies and restores what a Causeway vault holds. Needs the vault and "
        "its key, nothing else."};
    app.set_version_flag("--version", "causeway-restore 0.1.0");
    Command command;
    add_vault_options(app, command);
    add_commands(app, command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& done) {  // --help, --version
        return app.exit(done);
    } catch (const CLI::ParseError& error) {
        std::fprintf(stderr, "causeway-restore: %s\n",
                     to_string(Error{Errc::usage, escape_for_display(error.what())}).c_str());
        return 2;
    }
    Seams seams;
    const auto& chosen = app.get_subcommands().front()->get_name();
    const Result<int> result = chosen == "list"     ? list(command, seams)
                               : chosen == "verify" ? verify(command, seams)
                                                    : restore(command, seams);
    if (!result) {
        std::fprintf(stderr, "causeway-restore: %s\n",
                     escape_for_display(to_string(result.error()), 8192).c_str());
        return exit_code_of(result.error().code);
    }
    return *result;
}

}  // namespace
}  // namespace cw::recovery::tool

int main(int argc, char** argv) {
    cw::keep_standard_streams();
    cw::forbid_core_files();
    return cw::recovery::tool::run(argc, argv);
}
