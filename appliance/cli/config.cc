// causeway config check | explain | reload | manual
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

namespace cw::appliance {

void add_config_commands(CLI::App& app, Cli& cli) {
    CLI::App* config = app.add_subcommand("config", "Check, explain and reload the configuration");
    config->require_subcommand(1);

    CLI::App* check = config->add_subcommand("check", "Read a file as the daemon would");
    auto file = std::make_shared<std::string>();
    check->add_option("FILE", *file, "Default: --config");
    check->callback([&cli, file] {
        cli.run([&]() -> Result<void> {
            const std::string path = file->empty() ? cli.config_path : *file;
            CW_TRY(config::load_settings(*cli.seams.disk, path));
            std::printf(cli.json ? "{\"file\":\"%s\",\"valid\":true}\n" : "%s: valid\n",
                        path.c_str());
            return {};
        });
    });

    config->add_subcommand("explain", "Every setting with its value in force")->callback([&cli] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
            std::fputs(config::explain_settings(settings).c_str(), stdout);
            return {};
        });
    });

    config->add_subcommand("reload", "Make the running daemon read its file again")
        ->callback([&cli] {
            cli.run([&]() -> Result<void> {
                CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
                CW_TRY_ASSIGN(const std::string answer, ControlClient{socket}.post("reload", "{}"));
                std::printf("%s\n", answer.c_str());
                return {};
            });
        });

    config->add_subcommand("manual", "docs/settings.md, generated from the table of settings")
        ->callback([] { std::fputs(config::settings_manual().c_str(), stdout); });
}

}  // namespace cw::appliance
