// causeway: the operator's program.
#include "appliance/cli/cli.h"
#include "appliance/site_records.h"
#include "base/core_files.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/standard_streams.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

// One line on stderr; what a command has to say in JSON stands on stdout alone.
void print_error(const Error& error, bool as_json) {
    if (!as_json) {
        // It may tell of names that others chose.
        constexpr std::size_t error_text_max = 8192;
        std::fprintf(stderr, "causeway: %s\n",
                     escape_for_display(to_string(error), error_text_max).c_str());
        return;
    }
    const nlohmann::json out{{"error",
                              {{"code", name_of(error.code)},
                               {"number", static_cast<unsigned>(error.code)},
                               {"cause", cause_of(error.code)},
                               {"evidence", error.detail},
                               {"next", advice_of(error)}}}};
    constexpr auto replace = nlohmann::json::error_handler_t::replace;
    std::fprintf(stderr, "%s\n", out.dump(-1, ' ', true, replace).c_str());
}

}  // namespace

Result<config::Settings> Cli::settings() {
    if (!settings_) {
        settings_ = config::load_settings(*seams.disk, config_path);
    }
    return *settings_;
}

Result<std::string> Cli::socket_path() {
    CW_TRY_ASSIGN(const config::Settings settings_now, settings());
    return settings_now.server_state_dir + "/control.sock";
}

void Cli::run(const std::function<Result<void>()>& body) {
    const auto result = body();
    if (!result) {
        const auto known = settings();
        const Error error = known ? of_site_records(result.error(), *known) : result.error();
        print_error(error, json);
        exit_code = exit_code_of(error.code);
    }
}

namespace {

std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

// What is wrong with the words; for a first one that is no command, the command probably meant.
std::string fault_in(const CLI::ParseError& error, const CLI::App& app, int argc, char** argv) {
    constexpr std::size_t distance_max = 3;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--config") {
            ++i;
            continue;
        }
        if (word.starts_with('-')) {
            continue;
        }
        std::string best;
        std::size_t best_distance = distance_max + 1;
        for (const CLI::App* command : app.get_subcommands({})) {
            const std::size_t d = distance(word, command->get_name());
            if (d < best_distance) {
                best = command->get_name();
                best_distance = d;
            }
        }
        if (best_distance > 0) {
            const std::string guess = best.empty() ? "" : "; did you mean " + best + "?";
            return "no command " + std::string(word) + guess;
        }
        break;
    }
    std::string text = error.what();
    std::ranges::replace(text, '\n', ' ');
    return text;
}

}  // namespace
}  // namespace cw::appliance

int main(int argc, char** argv) {
    cw::keep_standard_streams();
    cw::forbid_core_files();
    using namespace cw::appliance;
    CLI::App app{"Causeway: provable disaster recovery. Every command takes --json.", "causeway"};
    app.set_version_flag("--version", "causeway 0.1.0");
    app.require_subcommand(1);
    app.fallthrough();
    Cli cli;
    cli.seams = make_system_seams();
    app.add_option("--config", cli.config_path, "Configuration of the server and its vault")
        ->capture_default_str();
    app.add_flag("--json", cli.json, "Machine-readable output");
    add_config_commands(app, cli);
    add_pki_commands(app, cli);
    add_enrol_command(app, cli);
    add_vault_commands(app, cli);
    add_status_commands(app, cli);
    add_recovery_commands(app, cli);
    add_job_commands(app, cli);
    add_mount_command(app, cli);
    add_hrl_command(app, cli);
    add_drill_command(app, cli);
    add_plan_commands(app, cli);
    add_doctor_commands(app, cli);
    add_machine_commands(app, cli);
    add_keys_command(app, cli);
    add_server_commands(app, cli);
    add_failback_command(app, cli);
    add_gc_command(app, cli);
    add_target_commands(app, cli);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& done) {  // --help, --version
        return app.exit(done);
    } catch (const CLI::ParseError& error) {
        // Its flags are not set yet.
        const bool as_json =
            std::any_of(argv, argv + argc, [](std::string_view word) { return word == "--json"; });
        print_error({cw::Errc::usage, fault_in(error, app, argc, argv)}, as_json);
        return 2;
    }
    return cli.exit_code;
}
