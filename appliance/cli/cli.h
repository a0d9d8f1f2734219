// The operator's command line: one struct that every command sees, one file per family of commands.
//
// A command prints its result on stdout (text, or JSON with --json) and returns the exit code:
// 0 ok, 1 failed, 2 usage, 3 refused or unsafe, 4 not found, 5 unreachable. Errors go to stderr
// with code, cause, evidence and next step.
#pragma once

#include "appliance/cli/progress.h"
#include "appliance/operator/jobs.h"
#include "appliance/read_access.h"
#include "config/settings.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace CLI {
class App;
}

namespace cw::appliance {

struct Cli {
    std::string config_path = "/etc/causeway/causeway.toml";
    bool json = false;
    SystemSeams seams;
    int exit_code = 0;

    // Of config_path, which is read once: it may be a pipe.
    Result<config::Settings> settings();
    Result<std::string> socket_path();  // Of the daemon that runs with this configuration.
    // Runs a command's body and turns its error into text and exit code.
    void run(const std::function<Result<void>()>& body);

private:
    std::optional<Result<config::Settings>> settings_;
};

// The vault of the configuration, without any daemon.
struct OpenedVault {
    config::Settings settings;
    VaultAccess access;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<const Site> site;
};
// Errors: config_invalid, and those of open_vault_access.
Result<OpenedVault> open_vault(Cli& cli);
// The machine of this id, or every machine of the site if it is empty. Errors: usage, those of
// the store.
Result<std::vector<MachineId>> chosen_machines(const OpenedVault& vault,
                                               const std::string& machine_text);

// Errors: usage (not a machine's id), and those of open_vault_access and Catalog::open.
Result<OpenedCatalog> open_catalog(Cli& cli, const std::string& machine_text, bool accept_stale);

// The records of machines, for writing: signed by a key that is certified for this host.
// Errors: key_unavailable, those of the store.
Result<std::unique_ptr<MachineRecords>> open_records(Cli& cli, const OpenedCatalog& opened);
// What is known of a machine's state and jobs, as JSON and as text.
Result<void> show_machine(Cli& cli, const std::string& machine_text);
// The whole document on stdout; bytes that are not UTF-8 are replaced.
void print_json(const nlohmann::json& value);

// Whether the configuration is a master target's.
Result<bool> is_master_target(Cli& cli);

// One function per family of commands.
void add_config_commands(CLI::App& app, Cli& cli);    // config check | explain | reload | manual
void add_pki_commands(CLI::App& app, Cli& cli);       // pki init | issue
void add_enrol_command(CLI::App& app, Cli& cli);      // enrol-token
void add_vault_commands(CLI::App& app, Cli& cli);     // vault create, machines, points, verify
void add_status_commands(CLI::App& app, Cli& cli);    // status, events
void add_recovery_commands(CLI::App& app, Cli& cli);  // failover, export
void add_job_commands(CLI::App& app, Cli& cli);       // jobs, and:
void add_state_commands(CLI::App& app, Cli& cli);     // commit, undo-failover, reprotect
void add_mount_command(CLI::App& app, Cli& cli);      // mount
void add_hrl_command(CLI::App& app, Cli& cli);        // hrl
void add_drill_command(CLI::App& app, Cli& cli);      // drill
void add_plan_commands(CLI::App& app, Cli& cli);      // plan run | check | show
void add_doctor_commands(CLI::App& app, Cli& cli);    // doctor, support-bundle
void add_machine_commands(CLI::App& app, Cli& cli);   // disks, policy, cost
void add_keys_command(CLI::App& app, Cli& cli);       // keys, keys rotate | kit
void add_server_commands(CLI::App& app, Cli& cli);    // servers, move, resync
void add_failback_command(CLI::App& app, Cli& cli);   // failback
void add_gc_command(CLI::App& app, Cli& cli);         // gc
void add_target_commands(CLI::App& app, Cli& cli);    // target list | switch | cancel

}  // namespace cw::appliance
