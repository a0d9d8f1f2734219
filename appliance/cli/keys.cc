// causeway keys [rotate | kit]: does the key file open everything; changing it; the kit for the
// safe.
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "base/log.h"
#include "egress/vault/recovery_kit.h"

#include <cstdio>
#include <ctime>
#include <filesystem>

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

// Whether the key file opens the keys of every machine: what a recovery rests on.
Result<void> list_keys(Cli& cli) {
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, ""));
    KeyReport report;
    for (const MachineId& machine : machines) {
        const auto catalog = recovery::Catalog::open(*vault.store, *vault.access.kek, machine, {});
        json entry{{"machine", to_string(machine)}, {"opens", catalog.has_value()}};
        if (catalog) {
            entry["data_keys"] = catalog->keys().deks.size();
        } else {
            entry["error"] = to_string(catalog.error());
            report.all_open = false;
        }
        report.keys.push_back(std::move(entry));
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

std::string name_of_old(const std::string& kek_file, WallMicros now) {
    const time_t time = raw(now) / 1'000'000;
    tm parts{};
    char text[32] = {};
    gmtime_r(&time, &parts);
    strftime(text, sizeof text, ".until-%Y%m%dT%H%M%SZ", &parts);
    return kek_file + text;
}

// The new key file is beside the old one until every key in the vault is wrapped by it, so that
// whoever is interrupted has both, and goes on by doing it again.
Result<void> rotate_kek_file(Cli& cli) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    Disk& disk = *cli.seams.disk;
    // A daemon would go on wrapping the keys of new machines with the old one.
    CW_TRY_ASSIGN(const auto no_daemon, lock_directory(disk, settings.server_state_dir));
    const std::string &current = settings.security_kek_file, next = current + ".next";
    CW_TRY_ASSIGN(const auto from, vault::open_kek_file(disk, current, *cli.seams.random));
    CW_TRY_ASSIGN(const bool begun, disk.exists(next));
    if (!begun) {
        CW_TRY(vault::create_kek_file(disk, next, *cli.seams.random));
    }
    CW_TRY_ASSIGN(const auto to, vault::open_kek_file(disk, next, *cli.seams.random));
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, cli.seams, false));
    const auto store = stores->make();
    CW_TRY_ASSIGN(const std::size_t rewrapped, vault::rotate_kek(*store, *from, *to));
    const std::string old = name_of_old(current, cli.seams.clock->wall());
    constexpr std::size_t key_bytes_max = 4096;
    CW_TRY_ASSIGN(ByteVector text, read_file(disk, current, key_bytes_max));
    const auto kept = write_file_atomically(disk, old, text, 0400);
    wipe(text);
    CW_TRY(kept);
    CW_TRY(disk.rename(next, current));
    const std::string directory = std::filesystem::path(current).parent_path().string();
    CW_TRY(disk.sync_directory(directory.empty() ? "." : directory));
    if (cli.json) {
        print_json({{"kek_file", current}, {"old_kek_file", old}, {"rewrapped", rewrapped}});
    } else {
        std::printf(
            "%zu keys of the vault are wrapped by the new key in %s\n"
            "the old one is in %s: it opens nothing in the vault any more, only copies "
            "of it that are older\n"
            "now: print the new kit (causeway keys kit), give the file to every server "
            "of this vault, start them\n",
            rewrapped, current.c_str(), old.c_str());
    }
    return {};
}

Result<void> rotate_data_keys(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string answer,
                  ControlClient{socket}.post("rotate-data-key", json{{"machine", machine}}.dump()));
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
        cli.run([&] { return *data ? rotate_data_keys(cli, *machine) : rotate_kek_file(cli); });
    });

    CLI::App* kit = keys->add_subcommand("kit", "What to keep on paper: the key, for typing");
    auto out = std::make_shared<std::string>();
    kit->add_option("--out", *out, "Writes it to this file, mode 0400");
    kit->callback([&cli, out] { cli.run([&] { return print_kit(cli, *out); }); });
}

}  // namespace cw::appliance
