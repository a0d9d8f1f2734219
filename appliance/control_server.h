// The control API: what the CLI, the console and Prometheus talk to.
//
// Always on a Unix socket (mode 0600, in state_dir); with `listen`, also on TCP over mutual TLS for
// certificates of role operator, and, if there is a handler for it, for machines that want to be
// enrolled: those have one endpoint and no other. Handlers run on the server's own threads and must
// be thread-safe: they read snapshots and post commands, and never touch the data plane. The socket
// and the port have threads of their own: what strangers do at the port is not felt on the socket.
#pragma once

#include "appliance/control_door.h"
#include "appliance/enrolment/enrolment_desk.h"
#include "base/error.h"
#include "base/tls.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace cw::appliance {

struct ControlHandlers {
    std::function<std::string()> metrics;  // GET /metrics
    // GET /v1/<name> → JSON; with a query "<name>?since=<text>", no other is passed on.
    std::function<Result<std::string>(const std::string&)> get;
    std::function<Result<std::string>(const std::string&, const std::string&)> post;  // + JSON body
    std::function<Result<std::string>(const EnrolCall&)> enrol;  // POST /v1/enrol; null: off.
};

struct ControlOptions {
    std::string socket_path;
    std::string listen;  // Empty: the socket only.
    TlsFiles tls;
    ControlDoor::Patience patience{};
};

class ControlServer {
public:
    virtual ~ControlServer() = default;  // Stops and joins.
    static Result<std::unique_ptr<ControlServer>> start(const ControlOptions& options,
                                                        ControlHandlers handlers);
    [[nodiscard]] virtual std::uint16_t port() const = 0;  // Of `listen`; 0 without.
    // New connections to `listen` are made with these files; nothing to do without it. Any thread.
    // Errors: tls_failed, certificate_expired; what was in use then stays in use.
    virtual Result<void> reload_tls(const TlsFiles& tls) = 0;
};

}  // namespace cw::appliance
