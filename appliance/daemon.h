// Daemon: what a role must offer to main: it is started, ticked once a second, asked, reconfigured,
// drained. One per process.
#pragma once

#include "appliance/status_json.h"
#include "appliance/vault_access.h"
#include "base/conditions.h"
#include "base/revocation.h"
#include "config/settings.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::appliance {

class Daemon {
public:
    virtual ~Daemon() = default;
    // The replication port in use.
    [[nodiscard]] virtual std::uint16_t port() const = 0;
    // Everything but conditions, uptime and control port, which main adds. Any thread.
    virtual void fill_status(DaemonStatus& status) = 0;
    // Takes the live settings. Main has checked that nothing else differs. Main thread.
    virtual void apply(const config::Settings& settings) = 0;
    // Commands of the role, POST /v1/NAME: the answer's JSON. Any thread. Errors: not_found (no
    // such command), usage, the command's own.
    virtual Result<std::string> post(const std::string& name, const std::string& /*body*/) {
        return fail(Errc::not_found, "no such command: " + name);
    }
    // Once a second on the main thread: metrics, forecasts, witnesses. False: a stage has not
    // finished a round for longer than the watchdog allows, and the process should be restarted.
    virtual bool tick() = 0;
    // SIGTERM: stop accepting, let in-flight data become durable, acknowledge, close. Returns when
    // done or after `limit_ns`.
    virtual void drain(std::int64_t limit_ns) = 0;
    // Set when the process must end (a failed cache device): restart runs recovery.
    [[nodiscard]] virtual std::optional<Error> failed() const = 0;
    // One line per term, printed at start.
    [[nodiscard]] virtual std::string budget_text() const = 0;
};

struct DaemonContext {
    SystemSeams& seams;
    Conditions& conditions;
    ServerId server;
    std::shared_ptr<const RevocationList> revoked;  // Main reloads it; every door asks it.
};

// Errors: config_invalid, unreachable (port), tls_failed, io_error, spool_tampered, vault errors.
Result<std::unique_ptr<Daemon>> start_process_server(const config::Settings& settings,
                                                     DaemonContext context);
Result<std::unique_ptr<Daemon>> start_master_target(const config::Settings& settings,
                                                    DaemonContext context);

}  // namespace cw::appliance
