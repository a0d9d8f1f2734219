// causeway disks | policy | cost: what the vault and the configuration say of machines.
#include "appliance/cli/cli.h"
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
#include "base/log.h"

#include <cstdio>
#include <set>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

std::string shown(const json& of, const char* key) {
    return escape_for_display(of.value(key, ""));
}

Result<void> disks(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, machine, false));
    json out = json::array();
    for (const vault::DiskEntry& disk : opened.catalog->state().newest.disks) {
        out.push_back({{"disk", to_string(disk.disk)},
                       {"name", disk.name},
                       {"size_bytes", disk.size_bytes},
                       {"generation", raw(disk.generation)},
                       {"committed_seq", raw(disk.committed)},
                       {"protected", disk.protected_},
                       {"syncing", raw(disk.open_fence) != 0}});
    }
    if (cli.json) {
        print_json(out);
        return {};
    }
    for (const json& disk : out) {
        std::printf("%s  %s  %s, committed up to write %llu of generation %llu%s%s\n",
                    shown(disk, "disk").c_str(), shown(disk, "name").c_str(),
                    config::format_bytes(disk.value("size_bytes", 0ULL)).c_str(),
                    static_cast<unsigned long long>(disk.value("committed_seq", 0ULL)),
                    static_cast<unsigned long long>(disk.value("generation", 0ULL)),
                    disk.value("protected", false) ? "" : ", no initial sync yet",
                    disk.value("syncing", false) ? ", syncing" : "");
    }
    return {};
}

// In force for one machine, or for every one that has no policy of its own.
Result<void> policy(Cli& cli, const std::string& machine_text) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    json out{{"points_interval_s", settings.points_interval_ms / 1000},
             {"app_interval_s", settings.points_app_interval_ms / 1000},
             {"retention_s", settings.points_retention_ms / 1000},
             {"rpo_alarm_s", settings.points_rpo_alarm_ms / 1000},
             {"proof_limit_s", settings.points_proof_limit_ms / 1000},
             {"upload_threads_per_vm", settings.egress_upload_threads_per_vm},
             {"download_threads_per_vm", settings.egress_download_threads_per_vm},
             {"resync_window", settings.resync_window}};
    std::string of = "every machine of this server without a [[policy]]";
    if (!machine_text.empty()) {
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(machine_text));
        out["machine"] = to_string(machine);
        out["points_interval_s"] = points_interval_ms_of(settings, machine) / 1000;
        out["app_interval_s"] = app_interval_ms_of(settings, machine) / 1000;
        out["retention_s"] = retention_ms_of(settings, machine) / 1000;
        out["rpo_alarm_s"] = rpo_alarm_ms_of(settings, machine) / 1000;
        of = "machine " + to_string(machine);
    }
    if (cli.json) {
        print_json(out);
        return {};
    }
    std::printf("in force for %s (causeway config reload takes changes):\n", of.c_str());
    for (const auto& [key, value] : out.items()) {
        std::printf("  %-24s %s\n", key.c_str(),
                    value.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    }
    return {};
}

// Stored and live bytes by machine, and the operations that a full restore would take. Prices
// differ by region and contract, so none is guessed: they come as options.
struct CostOptions {
    double per_gib_month = 0, per_10k_writes = 0, per_10k_reads = 0;
};

Result<void> cost(Cli& cli, const CostOptions& prices) {
    CW_TRY(check_has_vault(cli,
                           "what it keeps lies in the work directories beside its targets, which "
                           "`causeway --json target list` names: du -sh shows their size"));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, ""));
    std::uint64_t stored = 0, objects = 0;
    for (const auto container : {blob::Container::data, blob::Container::manifest,
                                 blob::Container::keys, blob::Container::control}) {
        CW_TRY_ASSIGN(const auto entries, blob::list_all(*vault.store, container, ""));
        for (const auto& entry : entries) {
            stored += entry.size;
            ++objects;
        }
    }
    json per_machine = json::array();
    std::uint64_t live = 0, segments = 0;
    for (const MachineId& machine : machines) {
        CW_TRY_ASSIGN(const auto catalog,
                      recovery::Catalog::open(*vault.store, *vault.access.kek, machine, {}));
        std::uint64_t bytes = 0;
        for (const auto& [name, segment] : catalog.state().segments) {
            bytes += segment.object_bytes;
        }
        live += bytes;
        segments += catalog.state().segments.size();
        per_machine.push_back({{"machine", to_string(machine)},
                               {"name", catalog.state().newest.machine_name},
                               {"live_bytes", bytes},
                               {"segments", catalog.state().segments.size()},
                               {"manifests", catalog.state().newest.number}});
    }
    const double gib_stored = static_cast<double>(stored) / static_cast<double>(gib);
    json out{{"stored_bytes", stored},
             {"live_bytes", live},
             {"objects", objects},
             {"write_operations", objects},
             {"read_operations_of_a_full_verify", segments},
             {"machines", per_machine}};
    if (prices.per_gib_month > 0) {
        out["month"] = gib_stored * prices.per_gib_month;
        out["written_so_far"] = static_cast<double>(objects) / 10'000 * prices.per_10k_writes;
        out["full_verify"] = static_cast<double>(segments) / 10'000 * prices.per_10k_reads;
    }
    if (cli.json) {
        print_json(out);
        return {};
    }
    std::printf("%s in %llu objects, %s of them live segments\n",
                config::format_bytes(stored).c_str(), static_cast<unsigned long long>(objects),
                config::format_bytes(live).c_str());
    for (const json& machine : per_machine) {
        std::printf("  %s  %s  %s in %llu segments\n", shown(machine, "machine").c_str(),
                    shown(machine, "name").c_str(),
                    config::format_bytes(machine.value("live_bytes", 0ULL)).c_str(),
                    static_cast<unsigned long long>(machine.value("segments", 0ULL)));
    }
    if (out.contains("month")) {
        std::printf("at these prices: %.2f a month for space; %.4f for the writes that made it\n",
                    out["month"].get<double>(), out["written_so_far"].get<double>());
    }
    return {};
}

}  // namespace

void add_machine_commands(CLI::App& app, Cli& cli) {
    auto machine = std::make_shared<std::string>();
    CLI::App* disks_command = app.add_subcommand("disks", "A machine's disks in the vault");
    add_machine_option(*disks_command, *machine);
    disks_command->callback([&cli, machine] { cli.run([&] { return disks(cli, *machine); }); });

    CLI::App* policy_command =
        app.add_subcommand("policy", "Points, retention and alarms in force");
    policy_command->add_option("MACHINE", *machine, "Its id; without: of the others");
    policy_command->callback([&cli, machine] { cli.run([&] { return policy(cli, *machine); }); });

    CLI::App* cost_command = app.add_subcommand("cost", "Space and operations of the vault");
    auto prices = std::make_shared<CostOptions>();
    cost_command->add_option("--per-gib-month", prices->per_gib_month, "Price of space");
    cost_command->add_option("--per-10k-writes", prices->per_10k_writes, "Price of operations");
    cost_command->add_option("--per-10k-reads", prices->per_10k_reads, "Price of operations");
    cost_command->callback([&cli, prices] { cli.run([&] { return cost(cli, *prices); }); });
}

}  // namespace cw::appliance
