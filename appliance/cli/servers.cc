// causeway servers [discard | forgive] | move | resync: which server has a machine, and orders to
// the one that has it.
#include "appliance/cli/point.h"
#include "appliance/cli/second_site.h"
#include "appliance/control_client.h"
#include "egress/vault/control.h"
#include "recovery/catalog.h"

#include <cstdio>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

// Who has which machine, as the ends of their chains say; no daemon is asked.
Result<void> servers(Cli& cli) {
    CW_TRY(check_has_vault(cli, "`causeway machines` names the machines that it has"));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, chosen_machines(vault, ""));
    std::map<ServerId, json> by_server;
    for (const MachineId& machine : machines) {
        CW_TRY_ASSIGN(const auto newest,
                      vault::newest_header(*vault.store, vault.access.identity, machine));
        if (newest) {  // Otherwise its first manifest is on its way.
            by_server[newest->certificate.server].push_back({{"machine", to_string(machine)},
                                                             {"epoch", raw(newest->epoch)},
                                                             {"manifest", newest->number}});
        }
    }
    json out = json::array();
    for (const auto& [server, theirs] : by_server) {
        out.push_back({{"server", to_string(server)}, {"machines", theirs}});
    }
    if (cli.json) {
        print_json(out);
        return {};
    }
    for (const json& server : out) {
        std::printf("server %s\n", server["server"].get<std::string>().c_str());
        for (const json& machine : server["machines"]) {
            std::printf("  %s  epoch %llu, manifest %llu\n",
                        machine["machine"].get<std::string>().c_str(),
                        machine["epoch"].get<unsigned long long>(),
                        machine["manifest"].get<unsigned long long>());
        }
    }
    if (out.empty()) {
        std::puts("no machine has a history in this vault yet");
    }
    return {};
}

struct OrderArguments {
    std::string subject, to, at;
    bool confirmed = false, at_once = false;
};

// Sends the order to this server's daemon and shows what came of it.
Result<void> order(Cli& cli, const char* what, const json& body) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string answer,
                  ControlClient{socket}.post(
                      what, body.dump(-1, ' ', false, json::error_handler_t::replace)));
    const json told = json::parse(answer, nullptr, false);
    if (!told.is_object()) {
        return fail(Errc::internal, "the daemon's answer is not JSON");
    }
    if (cli.json) {
        print_json(told);
    } else {
        std::puts(told.value("told", "ordered").c_str());
    }
    return {};
}

Result<void> move(Cli& cli, const OrderArguments& arguments) {
    CW_TRY(check_has_vault(cli,
                           "no other server can take its disks over. Stop the machine's agent, and "
                           "start it with the --server that it is to go to and an empty --state"));
    return order(cli, "move", {{"machine", arguments.subject}, {"to", arguments.to}});
}

Result<void> discard(Cli& cli, const OrderArguments& arguments) {
    CW_TRY(check_has_vault(cli,
                           "what it collected for a disk goes with `causeway target cancel MACHINE "
                           "DISK`"));
    if (!arguments.confirmed) {
        return fail(Errc::usage,
                    "what is released was acknowledged to the agent and is nowhere else: say --yes "
                    "when the machine goes on at another server, or is gone");
    }
    return order(cli, "discard", {{"machine", arguments.subject}});
}

Result<void> resync(Cli& cli, const OrderArguments& arguments) {
    json body{{"subject", arguments.subject}};
    if (!arguments.at.empty()) {
        const auto at = recovery::parse_time(arguments.at);
        if (!at) {
            return fail(Errc::usage, "--at takes a UTC time such as 2026-03-01T22:00:00Z");
        }
        body["at_us"] = raw(*at);
    }
    if (arguments.at_once) {
        body["now"] = true;
    }
    return order(cli, "resync", body);
}

}  // namespace

void add_server_commands(CLI::App& app, Cli& cli) {
    auto arguments = std::make_shared<OrderArguments>();
    CLI::App* servers_command =
        app.add_subcommand("servers", "Which process server has which machine, from the vault");
    servers_command->callback([&cli, servers_command] {
        if (servers_command->get_subcommands().empty()) {
            cli.run([&] { return servers(cli); });
        }
    });
    CLI::App* discard_command = servers_command->add_subcommand(
        "discard", "Release what this server holds of a machine that is another server's, or gone");
    discard_command->add_option("MACHINE", arguments->subject, "Its id")->required();
    discard_command->add_flag("--yes", arguments->confirmed, "Yes, what was not published goes");
    discard_command->callback(
        [&cli, arguments] { cli.run([&] { return discard(cli, *arguments); }); });
    CLI::App* forgive_command = servers_command->add_subcommand(
        "forgive", "Admit a machine again whose identity two agents had used by turns");
    forgive_command->add_option("MACHINE", arguments->subject, "Its id")->required();
    forgive_command->callback([&cli, arguments] {
        cli.run([&] { return order(cli, "forgive", {{"machine", arguments->subject}}); });
    });

    CLI::App* move_command = app.add_subcommand(
        "move", "Let a machine go to another server of this vault, without a resync");
    add_machine_option(*move_command, arguments->subject);
    move_command
        ->add_option("--to", arguments->to,
                     "That server's name or address, for people; the agent goes to the next of its "
                     "--server. This server's own name: takes the machine again")
        ->required();
    move_command->callback([&cli, arguments] { cli.run([&] { return move(cli, *arguments); }); });

    CLI::App* resync_command = app.add_subcommand(
        "resync", "Compare a disk with the vault again; only what differs is sent");
    resync_command->add_option("SUBJECT", arguments->subject, "A machine's id, or a disk's")
        ->required();
    CLI::Option* const at = resync_command->add_option(
        "--at", arguments->at, "UTC time; without: now, or when resync.window opens");
    resync_command->add_flag("--now", arguments->at_once, "also outside resync.window")
        ->excludes(at);
    resync_command->callback(
        [&cli, arguments] { cli.run([&] { return resync(cli, *arguments); }); });
}

}  // namespace cw::appliance
