// causeway: the operator's program.
#include "appliance/cli/cli.h"
#include "base/core_files.h"
#include "base/exit_code.h"
#include "base/log.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace cw::appliance {

Result<config::Settings> Cli::settings() {
    return config::load_settings(*seams.disk, config_path);
}

Result<std::string> Cli::socket_path() {
    CW_TRY_ASSIGN(const config::Settings settings_now, settings());
    return settings_now.server_state_dir + "/control.sock";
}

void Cli::run(const std::function<Result<void>()>& body) {
    const auto result = body();
    if (!result) {
        std::fprintf(stderr, "causeway: %s\n", to_string(result.error()).c_str());
        exit_code = exit_code_of(result.error().code);
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

// For a first word that is no command: the command that was probably meant.
void suggest(const CLI::App& app, int argc, char** argv) {
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
            std::fprintf(
                stderr, "%s\n",
                to_string(Error{Errc::usage, "no command " + escape_for_display(word) + guess})
                    .c_str());
        }
        return;
    }
}

}  // namespace
}  // namespace cw::appliance

int main(int argc, char** argv) {
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
    add_vault_commands(app, cli);
    add_status_commands(app, cli);
    add_recovery_commands(app, cli);
    add_job_commands(app, cli);
    add_mount_command(app, cli);
    add_drill_command(app, cli);
    add_plan_commands(app, cli);
    add_doctor_commands(app, cli);
    add_machine_commands(app, cli);
    add_server_commands(app, cli);
    add_failback_command(app, cli);
    add_gc_command(app, cli);
    add_target_commands(app, cli);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& done) {  // --help, --version
        return app.exit(done);
    } catch (const CLI::ParseError& error) {
        app.exit(error);
        suggest(app, argc, argv);
        return 2;
    }
    return cli.exit_code;
}
