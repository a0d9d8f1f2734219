// causeway config check | explain | reload | manual
#include "appliance/cache_size.h"
#include "appliance/cli/cli.h"
#include "appliance/control_client.h"
#include "appliance/server_state.h"
#include "appliance/start_check.h"

#include <cstdio>
#include <memory>
#include <set>
#include <sstream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

// The lines "name = value" or "name = value  (default)".
std::string explained_json(const std::string& text) {
    constexpr std::string_view equals = " = ", is_default = "  (default)";
    nlohmann::json out = nlohmann::json::array();
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t at = line.find(equals);
        if (at == std::string::npos) {
            continue;  // A name with a line's end in it.
        }
        const bool from_table = line.ends_with(is_default);
        std::string value = line.substr(at + equals.size());
        value.resize(value.size() - (from_table ? is_default.size() : 0));
        out.push_back({{"setting", line.substr(0, at)},
                       {"value", value == "\"\"" ? "" : value},
                       {"default", from_table}});
    }
    return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// Machines that this server has seen, or that it has targets for.
std::size_t known_machines(Cli& cli, const config::Settings& settings) {
    std::set<std::string> machines;
    for (const config::TargetEntry& target : settings.targets) {
        machines.insert(target.machine);
    }
    WitnessFile witness(witness_path(settings.server_state_dir));
    if (witness.load(*cli.seams.disk)) {  // Another computer's state cannot be looked at.
        for (const auto& [machine, seen] : witness.all()) {
            machines.insert(to_string(machine));
        }
    }
    return machines.size();
}

// A file that cannot be taken is an error; one that can but will hurt has warnings.
Result<void> check_file(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(
        const config::Settings settings,
        path == cli.config_path ? cli.settings() : config::load_settings(*cli.seams.disk, path));
    if (auto started = check_start(settings); !started) {
        started.error().detail = path + ": " + started.error().detail;
        return started;
    }
    nlohmann::json warnings = nlohmann::json::array();
    if (const auto wrong = cache_too_small(settings.cache_size, settings.cache_throttle_free,
                                           known_machines(cli, settings))) {
        warnings.push_back("cache.size: " + *wrong);
    }
    if (cli.json) {
        print_json({{"file", path}, {"valid", true}, {"warnings", warnings}});
        return {};
    }
    std::printf("%s: valid\n", path.c_str());
    for (const nlohmann::json& warning : warnings) {
        std::printf("warning: %s\n", warning.get<std::string>().c_str());
    }
    return {};
}

}  // namespace

void add_config_commands(CLI::App& app, Cli& cli) {
    CLI::App* config = app.add_subcommand("config", "Check, explain and reload the configuration");
    config->require_subcommand(1);

    CLI::App* check = config->add_subcommand("check", "Read a file as the daemon would");
    auto file = std::make_shared<std::string>();
    check->add_option("FILE", *file, "Default: --config");
    check->callback([&cli, file] {
        cli.run([&]() -> Result<void> {
            return check_file(cli, file->empty() ? cli.config_path : *file);
        });
    });

    config->add_subcommand("explain", "Every setting with its value in force")->callback([&cli] {
        cli.run([&]() -> Result<void> {
            CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
            const std::string text = config::explain_settings(settings);
            std::fputs((cli.json ? explained_json(text) : text).c_str(), stdout);
            return {};
        });
    });

    config->add_subcommand("reload", "Make the running daemon read its file again")
        ->callback([&cli] {
            cli.run([&]() -> Result<void> {
                CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
                CW_TRY_ASSIGN(const std::string answer, ControlClient{socket}.post("reload", "{}"));
                std::printf("%s\n",
                            cli.json ? answer.c_str() : "the configuration has been read again");
                return {};
            });
        });

    config->add_subcommand("manual", "docs/settings.md, generated from the table of settings")
        ->callback([] { std::fputs(config::settings_manual().c_str(), stdout); });
}

}  // namespace cw::appliance
