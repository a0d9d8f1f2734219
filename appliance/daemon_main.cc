// causewayd: the appliance daemon.
#include "appliance/process.h"
#include "base/core_files.h"
#include "base/crash_point.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/standard_streams.h"

#include <cstdio>

#include <CLI/CLI.hpp>

namespace cw::appliance {
namespace {

int run_daemon(const DaemonArguments& arguments) {
    Process process(arguments);
    if (const auto started = process.start(); !started) {
        std::fprintf(stderr, "causewayd: %s\n", to_string(started.error()).c_str());
        return exit_code_of(started.error().code);
    }
    return process.run();
}

}  // namespace
}  // namespace cw::appliance

int main(int argc, char** argv) {
    cw::keep_standard_streams();
    cw::forbid_core_files();
    cw::appliance::DaemonArguments arguments;
    CLI::App app{"Causeway's daemon: process server or master target.", "causewayd"};
    app.set_version_flag("--version", "causewayd 0.1.0");
    app.add_option("--config", arguments.config_path, "Configuration; see docs/settings.md")
        ->capture_default_str();
    app.add_option("--role", arguments.role, "Overrides server.role")
        ->check(CLI::IsMember({"process-server", "master-target"}));
    bool list_crash_points = false;
    app.add_flag("--list-crash-points", list_crash_points)->group("");  // For tests only: hidden.
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {  // --help, --version
            return app.exit(error);
        }
        const cw::Error wrong{cw::Errc::usage, cw::escape_for_display(error.what())};
        std::fprintf(stderr, "causewayd: %s\n", to_string(wrong).c_str());
        return 2;
    }
    if (list_crash_points) {
        for (const std::string_view name : cw::crash_point_names()) {
            std::printf("%.*s\n", static_cast<int>(name.size()), name.data());
        }
        return 0;
    }
    return cw::appliance::run_daemon(arguments);
}
