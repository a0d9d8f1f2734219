// hostile_peer GROUP: lets one group of hostile cases at a running server and prints each.
#include "base/log.h"
#include "tests/hostile/rig.h"

#include <csignal>
#include <map>

#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
    using namespace cw::hostile;
    const std::map<std::string, void (*)(const Target&)> groups{
        {"tls", run_tls_cases},       {"control", run_control_cases}, {"frames", run_frame_cases},
        {"stream", run_stream_cases}, {"names", run_name_cases},      {"slow", run_slow_cases},
        {"crowd", run_crowd},         {"storm", run_storm},           {"enrol", run_enrol_cases},
    };
    Target target;
    std::string group;
    CLI::App app{"A peer that does everything wrong.", "hostile_peer"};
    app.add_option("GROUP", group)->required();
    app.add_option("--port", target.port, "Replication")->required();
    app.add_option("--control-port", target.control_port);
    app.add_option("--pki", target.pki, "Directory with ca.crt and ca.key")->required();
    app.add_option("--victim-disk", target.victim_disk, "A disk of another machine");
    app.add_option("--revoked", target.revoked, "Prefix of a revoked certificate and its key");
    app.add_option("--count", target.count, "How many: crowd, storm");
    CLI11_PARSE(app, argc, argv);
    const auto run = groups.find(group);
    if (run == groups.end()) {
        std::fprintf(stderr, "no such group: %s\n", group.c_str());
        return 2;
    }
    (void)std::signal(SIGPIPE, SIG_IGN);
    cw::set_log_level(cw::LogLevel::error);
    run->second(target);
    return failures() == 0 ? 0 : 1;
}
