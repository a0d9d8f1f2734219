// causeway status | events: what the running daemon says.
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "appliance/status_json.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

namespace cw::appliance {

void add_status_commands(CLI::App& app, Cli& cli) {
    CLI::App* status =
        app.add_subcommand("status", "Health, machines, RPO and where its time goes");
    auto line = std::make_shared<bool>(false);
    status->add_flag("--line", *line, "One line");
    status->callback([&cli, line] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
            CW_TRY_ASSIGN(const std::string json, ControlClient{socket}.get("status"));
            std::fputs(cli.json ? (json + "\n").c_str() : status_text(json, *line).c_str(), stdout);
            return {};
        });
    });

    app.add_subcommand("events", "Conditions raised and cleared, oldest first")->callback([&cli] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
            CW_TRY_ASSIGN(const std::string json, ControlClient{socket}.get("events"));
            std::fputs(cli.json ? (json + "\n").c_str() : events_text(json).c_str(), stdout);
            return {};
        });
    });
}

}  // namespace cw::appliance
