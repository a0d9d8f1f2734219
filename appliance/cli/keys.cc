// causeway keys [rotate | retire | kit]: does the key file open everything; changing it; the kit
// for the safe.
#include "appliance/cli/cli.h"
#include "appliance/cli/key_change.h"
#include "appliance/cli/second_site.h"
#include "appliance/control_client.h"
#include "base/log.h"
#include "egress/vault/key_check.h"
#include "egress/vault/recovery_kit.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

std::string shown(const json& of, const char* key) {
    return escape_for_display(of.value(key, ""));
}

struct KeyReport {
    json keys = json::array();
    bool all_open = true;
};

void add_entry(KeyReport& report, const MachineId& machine, const std::optional<Error>& locked) {
    json entry{{"machine", to_string(machine)}, {"opens", !locked}};
    if (locked) {
        entry["error"] = to_string(*locked);
        report.all_open = false;
    }
    report.keys.push_back(std::move(entry));
}

// What it collects lies on its own disks as it is.
Result<void> check_has_keys(Cli& cli) {
    return check_has_vault(cli,
                           "nothing that it keeps is encrypted. The key of its records is "
                           "records.kek in its state_dir: back it up with that directory; "
                           "`causeway doctor` checks it");
}

// Whether the key file opens the keys of every machine: what a recovery rests on.
Result<void> list_keys(Cli& cli) {
    CW_TRY(check_has_keys(cli));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, ""));
    CW_TRY_ASSIGN(const auto objects, vault::check_key_objects(*vault.store, *vault.access.kek));
    KeyReport report;
    for (const MachineId& machine : machines) {
        const auto catalog = recovery::Catalog::open(*vault.store, *vault.access.kek, machine, {});
        add_entry(report, machine, catalog ? std::nullopt : std::optional(catalog.error()));
        if (catalog) {
            report.keys.back()["data_keys"] = catalog->keys().deks.size();
        }
    }
    for (const vault::KeyObjectCheck& object : objects) {  // Keys that have no history yet.
        if (object.machine && std::ranges::find(machines, *object.machine) == machines.end()) {
            add_entry(report, *object.machine, object.locked);
        }
    }
    if (cli.json) {
        print_json({{"vault", to_string(vault.access.identity.id)},
                    {"kek_file", vault.settings.security_kek_file},
                    {"machines", report.keys}});
    } else {
        std::printf("vault %s, key file %s\n", to_string(vault.access.identity.id).c_str(),
                    vault.settings.security_kek_file.c_str());
        for (const json& entry : report.keys) {
            std::printf(
                "  %s  %s\n", shown(entry, "machine").c_str(),
                entry["opens"].get<bool>() ? "its keys open" : shown(entry, "error").c_str());
        }
    }
    return report.all_open
               ? Result<void>{}
               : fail(Errc::key_unavailable, "not every machine's keys could be opened");
}

Result<void> rotate_data_keys(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string answer,
                  ControlClient{socket}.post("rotate-data-key",
                                             json{{"machine", machine}}.dump(
                                                 -1, ' ', false, json::error_handler_t::replace)));
    const json told = json::parse(answer, nullptr, false);
    if (cli.json) {
        print_json(told);
    } else {
        std::printf("%s\n", shown(told, "told").c_str());
    }
    return {};
}

// All that is needed beside the vault itself, for paper.
Result<void> print_kit(Cli& cli, const std::string& out) {
    CW_TRY(check_has_keys(cli));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto key,
                  vault::read_kek_file(*cli.seams.disk, vault.settings.security_kek_file));
    // Whoever prints a key that opens nothing has a false safety.
    CW_TRY(vault::make_server_signer(*vault.store, *vault.access.kek, *cli.seams.random,
                                     make_id<ServerId>(*cli.seams.random)));
    const std::string url = vault.settings.vault_url;
    const Secret<std::string> text(
        "CAUSEWAY RECOVERY KIT: keep it on paper, in a safe, away from the vault.\n"
        "vault   " +
        to_string(vault.access.identity.id) + "\nat      " + url + "\n\n" +
        vault::kit_lines(key).reveal() +
        "\nTo recover without any server: type the four lines that begin with \"key\" into a file "
        "of mode 0400,\nthen: causeway-restore --vault " +
        url + " --auth … --kek FILE list\n");
    if (!out.empty()) {
        CW_TRY(write_file_atomically(*cli.seams.disk, out, as_bytes(text.reveal()), 0400));
        std::printf("%s: print it, then destroy the file\n", out.c_str());
        return {};
    }
    std::fputs(text.reveal().c_str(), stdout);
    return {};
}

}  // namespace

void add_keys_command(CLI::App& app, Cli& cli) {
    CLI::App* keys = app.add_subcommand("keys", "Does the key file open every machine's keys?");
    keys->require_subcommand(0, 1);
    keys->callback([&cli, keys] {
        if (keys->get_subcommands().empty()) {
            cli.run([&] { return list_keys(cli); });
        }
    });

    CLI::App* rotate = keys->add_subcommand("rotate",
                                            "A new key file for the whole vault; the "
                                            "daemon must not run");
    auto data = std::make_shared<bool>(false);
    auto machine = std::make_shared<std::string>();
    CLI::Option* with_data = rotate->add_flag(
        "--data", *data, "Instead: new data keys for what is written from now on, while it runs");
    rotate->add_option("--machine", *machine, "With --data: of this machine only")
        ->needs(with_data);
    rotate->callback([&cli, data, machine] {
        cli.run([&]() -> Result<void> {
            CW_TRY(check_has_keys(cli));
            return *data ? rotate_data_keys(cli, *machine) : rotate_kek_file(cli);
        });
    });

    CLI::App* retire = keys->add_subcommand(
        "retire", "May the key that was replaced be destroyed? It may, when nothing needs it");
    auto old = std::make_shared<std::string>();
    retire->add_option("FILE", *old, "As keys rotate named it: KEK_FILE.until-TIME")->required();
    retire->callback([&cli, old] {
        cli.run([&]() -> Result<void> {
            CW_TRY(check_has_keys(cli));
            return retire_kek_file(cli, *old);
        });
    });

    CLI::App* kit = keys->add_subcommand("kit", "What to keep on paper: the key, for typing");
    auto out = std::make_shared<std::string>();
    kit->add_option("--out", *out, "Writes it to this file, mode 0400");
    kit->callback([&cli, out] { cli.run([&] { return print_kit(cli, *out); }); });
}

}  // namespace cw::appliance
