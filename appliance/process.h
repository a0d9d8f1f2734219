// Process: everything that lives as long as causewayd does: the settings in force, the server of
// its role, the control API, the watchdog.
//
// Thread-safety: start() and run() belong to the main thread; the control API's handlers read under
// a mutex what reload changes.
#pragma once

#include "appliance/control_server.h"
#include "appliance/event_log.h"
#include "appliance/proof_watch.h"
#include "appliance/server.h"
#include "appliance/vault_view.h"
#include "base/conditions.h"
#include "base/disk.h"

#include <csignal>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace cw::appliance {

struct DaemonArguments {
    std::string config_path = "/etc/causeway/causeway.toml";
    std::string role;  // Overrides server.role; empty: does not.
};

class Process {
public:
    explicit Process(DaemonArguments arguments)
        : arguments_(std::move(arguments)),
          seams_(make_system_seams()),
          conditions_(*seams_.clock),
          started_(seams_.clock->boot()) {}

    Result<void> start();
    int run();  // Until a signal; returns the exit code.

private:
    Result<config::Settings> load(Disk& disk) const;
    Result<config::Settings> fit_connections();
    Result<std::string> reload();
    [[nodiscard]] TlsFiles control_tls(const config::Settings& settings) const;
    Result<void> open_enrolment();
    Result<void> open_control();
    Result<EnrolmentDesk*> enrolment();
    Result<std::string> get(const std::string& name);
    Result<std::string> post(const std::string& name, const std::string& body);
    Result<std::string> events(std::string_view since);
    std::string status();
    void handle_signals(int fd, bool& stopping);
    void drain(int signals);

    DaemonArguments arguments_;
    SystemSeams seams_;
    Conditions conditions_;
    Nanos started_;
    std::mutex mutex_;  // settings_ is read by control threads and changed by reload.
    config::Settings settings_;
    std::unique_ptr<File> state_lock_, cache_lock_;  // Held until the daemon is gone.
    std::unique_ptr<EventLog> events_;
    std::jthread event_writer_;  // Of its own: what keeps the main thread is worth a line.
    ServerId server_id_{};
    // Two owners: this, which reloads it, and the TLS contexts of every port, which ask it.
    std::shared_ptr<RevocationList> revoked_ = std::make_shared<RevocationList>();
    std::unique_ptr<Server> server_;
    // Of a process server: only they have a vault.
    std::unique_ptr<VaultView> vault_view_;
    // Of the enrolments, which come from the control port's threads.
    std::unique_ptr<Disk> enrolment_disk_ = make_posix_disk();
    std::unique_ptr<EnrolmentDesk> enrolment_;  // Null: off.
    std::unique_ptr<ControlServer> control_;    // Asks what stands above.
    std::unique_ptr<ProofWatch> proof_watch_;
    sigset_t signals_{};
};

}  // namespace cw::appliance
