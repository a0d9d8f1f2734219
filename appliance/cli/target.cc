// causeway target list | switch | cancel: a master target's disks, through its daemon.
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "appliance/master_target/target_json.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct TargetArguments {
    std::string machine, disk, point;
};

Result<void> list(Cli& cli) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string text, ControlClient{socket}.get("status"));
    const json status = json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("targets")) {
        return fail(Errc::not_found, "the daemon of this configuration is no master target");
    }
    const json& targets = status["targets"];
    if (cli.json) {
        std::puts(targets.dump(2, ' ', true, json::error_handler_t::replace).c_str());
        return {};
    }
    for (const json& target : targets) {
        std::fputs(target_text(target).c_str(), stdout);
    }
    return {};
}

// A failover in place that waits for its targets decides what becomes of them.
// Records that cannot be read stop nobody: a target is given up also where everything else is
// broken. Errors: transition_refused.
Result<void> check_no_failover(Cli& cli, const std::string& machine_text) {
    const auto machine = parse_id<MachineId>(machine_text);
    const auto vault = open_vault(cli);
    if (!machine || !vault) {
        return {};
    }
    const auto stored = MachineRecords(*vault->store, vault->access.identity).load(*machine);
    if (!stored) {
        return {};
    }
    const MachineRecord record = as_it_stands(*stored, cli.seams.clock->wall());
    for (const Job& job : record.jobs) {
        if (job.verb == Verb::failover && job.state == JobState::running) {
            return std::unexpected(Error{
                Errc::transition_refused,
                "job " + to_string(job.id) + " (failover, process " +
                    std::to_string(job.holder.pid) + " on " + job.holder.host_name +
                    ") is at work and may be waiting for this target",
                "causeway jobs " + to_string(job.id) + "; when it has ended, the same command"});
        }
    }
    return {};
}

Result<void> order(Cli& cli, const char* what, const TargetArguments& arguments) {
    CW_TRY(check_no_failover(cli, arguments.machine));
    json body{{"machine", arguments.machine}, {"disk", arguments.disk}};
    if (!arguments.point.empty()) {
        body["point"] = arguments.point;
    }
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(
        const std::string answer,
        ControlClient{socket}.post(std::string("target/") + what,
                                   body.dump(-1, ' ', false, json::error_handler_t::replace)));
    if (cli.json) {
        std::puts(answer.c_str());
    } else if (arguments.point.empty()) {
        std::puts("cancelled: what was collected is forgotten, the target is as it was");
    } else {
        std::puts("switched: the target becomes the point; not to be used before it is done");
    }
    return {};
}

void add_order(CLI::App& parent, Cli& cli, const char* what, const char* help) {
    CLI::App* command = parent.add_subcommand(what, help);
    auto arguments = std::make_shared<TargetArguments>();
    command->add_option("MACHINE", arguments->machine, "Its id")->required();
    command->add_option("DISK", arguments->disk, "As configured: id or name")->required();
    if (std::string_view(what) == "switch") {
        command
            ->add_option("--point", arguments->point,
                         "The point it holds, as `causeway target list` shows it")
            ->required();
    }
    command->callback(
        [&cli, what, arguments] { cli.run([&] { return order(cli, what, *arguments); }); });
}

}  // namespace

void add_target_commands(CLI::App& app, Cli& cli) {
    CLI::App* target = app.add_subcommand("target", "Disks that a master target writes");
    target->require_subcommand(1);
    target->fallthrough();
    target->add_subcommand("list", "Phase, held point and trouble of each")->callback([&cli] {
        cli.run([&] { return list(cli); });
    });
    add_order(*target, cli, "switch",
              "Make the target the point it holds; cannot be taken back once begun");
    add_order(*target, cli, "cancel", "Forget what was collected; the target stays as it was");
}

}  // namespace cw::appliance
