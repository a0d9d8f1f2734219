// causeway gc: deletes what the vault needs no more, under the one identity that may.
#include "appliance/cli/second_site.h"
#include "appliance/maintenance.h"
#include "appliance/server_state.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct GcArguments {
    std::string machine;
    bool remove = false;
};

json report_json(const MachineId& machine, const recovery::GcReport& report) {
    return {{"machine", to_string(machine)},
            {"live_segments", report.live_segments},
            {"live_bytes", report.live_bytes},
            {"unnamed_segments", report.unnamed_segments},
            {"unnamed_bytes", report.unnamed_bytes},
            {"deleted_segments", report.deleted_segments},
            {"deleted_bytes", report.deleted_bytes},
            {"deleted_manifests", report.deleted_manifests},
            {"locked", report.immutable}};
}

Result<void> gc(Cli& cli, const GcArguments& arguments) {
    CW_TRY(check_has_vault(cli, "its points go by themselves after points.target_retention"));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    const config::Settings& settings = vault.settings;
    if (settings.gc_auth == "none") {
        return fail(Errc::config_invalid, "gc.auth is none: no identity here may delete");
    }
    CW_TRY_ASSIGN(const auto stores, open_gc_stores(settings, cli.seams));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const ServerId server,
                  load_server_id(*cli.seams.disk, *cli.seams.random, settings.server_state_dir));
    CW_TRY_ASSIGN(const auto signer,
                  vault::make_server_signer(*store, *vault.access.kek, *cli.seams.random, server));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, arguments.machine));
    recovery::GcOptions options;
    options.dry_run = !arguments.remove;
    options.grace_us = static_cast<std::int64_t>(settings.gc_grace_ms) * 1000;
    json out = json::array();
    // What a server beside this remembers tells what it would delete; deleting needs an own memory.
    const std::string memory =
        settings.server_state_dir + (arguments.remove ? "/gc-by-hand-" : "/gc-");
    for (const MachineId& machine : machines) {
        CW_TRY_ASSIGN(
            const recovery::GcReport report,
            collect_and_remember(*store, *vault.access.kek, signer, machine, *cli.seams.disk,
                                 memory + to_string(machine), options, cli.seams.clock->wall()));
        out.push_back(report_json(machine, report));
        if (!cli.json) {
            std::printf(
                "%s  %llu segments live, %llu unnamed, %s %llu (%llu bytes) and %llu "
                "manifests; %llu locked until later\n",
                to_string(machine).c_str(), static_cast<unsigned long long>(report.live_segments),
                static_cast<unsigned long long>(report.unnamed_segments),
                arguments.remove ? "deleted" : "would delete",
                static_cast<unsigned long long>(report.deleted_segments),
                static_cast<unsigned long long>(report.deleted_bytes),
                static_cast<unsigned long long>(report.deleted_manifests),
                static_cast<unsigned long long>(report.immutable));
        }
    }
    if (cli.json) {
        print_json(out);
    }
    return {};
}

}  // namespace

void add_gc_command(CLI::App& app, Cli& cli) {
    const auto arguments = std::make_shared<GcArguments>();
    CLI::App* command = app.add_subcommand(
        "gc", "Delete what published manifests have declared dead and what was never named");
    command->add_option("MACHINE", arguments->machine, "Its id; without: every machine");
    command->add_flag("--delete", arguments->remove,
                      "Really delete; without it only what would be deleted is shown");
    command->callback([&cli, arguments] { cli.run([&] { return gc(cli, *arguments); }); });
}

}  // namespace cw::appliance
