// The operator's command line: one struct that every command sees, one file per family of commands.
//
// A command prints its result on stdout (text, or JSON with --json) and returns the exit code:
// 0 ok, 1 failed, 2 usage, 3 refused or unsafe, 4 not found, 5 unreachable. Errors go to stderr with
// code, cause, evidence and next step.
#pragma once

#include "appliance/vault_access.h"
#include "config/settings.h"

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace cw::appliance {

struct Cli {
    std::string config_path = "/etc/causeway/causeway.toml";
    bool json = false;
    SystemSeams seams;
    int exit_code = 0;

    Result<config::Settings> settings();
    Result<std::string> socket_path();  // Of the daemon that runs with this configuration.
    // Runs a command's body and turns its error into text and exit code.
    void run(const std::function<Result<void>()>& body);
};

int exit_code_of(Errc code) noexcept;
// "1.2 GiB of 4.0 GiB, 310 MiB/s, 9 s left" on stderr, at most four times a second, after 2 s.
class ProgressLine {
public:
    ProgressLine(Clock& clock, std::string what) : clock_(clock), what_(std::move(what)) {}
    ~ProgressLine();
    void update(std::uint64_t done, std::uint64_t total);

private:
    Clock& clock_;
    std::string what_;
    Nanos started_{}, shown_{};
    bool visible_ = false;
};

void add_config_commands(CLI::App& app, Cli& cli);    // config check | explain | reload | manual
void add_pki_commands(CLI::App& app, Cli& cli);       // pki init | issue
void add_vault_commands(CLI::App& app, Cli& cli);     // vault create, machines, points, verify
void add_status_commands(CLI::App& app, Cli& cli);    // status, events, disks
void add_recovery_commands(CLI::App& app, Cli& cli);  // failover

}  // namespace cw::appliance
