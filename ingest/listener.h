// Listener: the door on port 9443, as one object: reactors that share a port and a session table.
//
//   auto listener = Listener::create(options, context, ports);   // ports: one set per reactor
//   (*listener)->start();   …   begin_drain(); until drained() or time is up; stop();
//
// Thread-safety: all functions from any thread, create/start/stop from one.
#pragma once

#include "base/conditions.h"
#include "base/random.h"
#include "ingest/options.h"
#include "ingest/reactor.h"
#include "ingest/session_table.h"

#include <memory>
#include <vector>

namespace cw::ingest {

class Listener {
public:
    // All outlive the listener.
    struct Context {
        Clock& clock;
        Random& random;
        pipeline::SlabPool& pool;  // Payload memory: at least 8 slabs, or no large frame fits.
        CreditPolicy& credit;
        MetricRegistry& metrics;
        Conditions& conditions;
    };
    // Opens the port (0: the kernel chooses) and loads the certificate; nothing runs yet.
    // `ports` has options.reactors entries. Errors: unreachable (port), tls_failed,
    // certificate_expired, identity_refused (the certificate is not a server's of
    // options.role), out_of_budget (pool too small).
    static Result<std::unique_ptr<Listener>> create(ListenerOptions options, Context context,
                                                    std::vector<ReactorPorts> ports,
                                                    Authorise authorise = {});
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    void start();
    void begin_drain();
    [[nodiscard]] bool drained() const noexcept;
    void stop();
    // Reads the certificate files again, for new connections. Errors as create(); the old
    // certificate then stays in use.
    Result<void> reload_tls();

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] std::size_t connection_count() const noexcept;
    [[nodiscard]] Reactor& reactor(std::size_t index) { return *reactors_.at(index); }
    [[nodiscard]] std::size_t reactor_count() const noexcept { return reactors_.size(); }
    [[nodiscard]] SessionTable& sessions() noexcept { return table_; }
    [[nodiscard]] PolicyTable& policies() noexcept { return policies_; }
    // Seconds until our certificate expires; a condition stands while that is soon. Any thread.
    std::int64_t watch_certificate();

private:
    Listener(ListenerOptions options, Context context, TlsContext tls, Authorise authorise);
    Result<void> open(std::vector<ReactorPorts> ports);

    ListenerOptions options_;
    Context context_;
    Authorise authorise_;
    TlsSlot tls_;
    SessionTable table_;
    PolicyTable policies_;
    std::uint16_t port_ = 0;
    std::vector<std::unique_ptr<Reactor>> reactors_;
};

}  // namespace cw::ingest
