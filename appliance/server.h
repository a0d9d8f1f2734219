// Server: an Intake and the Terminal of its role, as one thing that is started, ticked once a
// second, asked, reconfigured and drained. One per process.
#pragma once

#include "appliance/health_metrics.h"
#include "appliance/intake.h"
#include "appliance/terminal.h"

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace cw::appliance {

class Server {
public:
    // Errors: config_invalid, unreachable (port), tls_failed, io_error, spool_tampered, those of
    // the role's Terminal (a vault's).
    static Result<std::unique_ptr<Server>> start(const config::Settings& settings,
                                                 ServerContext context);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // The replication port in use.
    [[nodiscard]] std::uint16_t port() const { return intake_.listener().port(); }
    // Everything but conditions, uptime and control port, which main adds. Any thread.
    void fill_status(DaemonStatus& status) const;
    // Takes the live settings. Main has checked that nothing else differs. Main thread.
    void apply(const config::Settings& settings);
    // As Terminal::post().
    Result<std::string> post(const std::string& name, const std::string& body) {
        return terminal_->post(name, body);
    }
    // Once a second on the main thread: metrics, forecasts, chores. False: a stage has not finished
    // a round for longer than the watchdog allows, and the process should be restarted.
    bool tick();
    // SIGTERM: stop accepting, let in-flight data become durable, acknowledge, close. Returns when
    // done; after `limit` the rest is left out, but for the last sync of the cache.
    void drain(const DrainLimit& limit);
    // Set when the process must end (a failed cache device): restart runs recovery.
    [[nodiscard]] std::optional<Error> failed() const;
    // One line per term, printed at start.
    [[nodiscard]] std::string budget_text() const { return plan_.budget.text(); }

private:
    Server(const config::Settings& settings, ServerContext context,
           std::unique_ptr<Terminal> terminal);
    Result<void> open();
    void watch_cache();
    bool watch_threads();
    void show_stall(const std::string& stage, std::int64_t limit_ns, bool stalled);
    void show_health();

    config::Settings settings_;  // Main thread.
    ServerContext context_;
    pipeline::MemoryPlan plan_;
    Intake intake_;
    std::unique_ptr<Terminal> terminal_;
    HealthMetrics health_metrics_;
    StandingTrouble certificate_trouble_;
    std::int64_t stalled_after_ns_;
    std::set<std::string> stalled_;     // Stages without a round for that long.
    Nanos last_watch_{};                // When watch_threads() looked before.
    std::uint64_t last_live_ = 0;       // Bytes in the cache at the last tick.
    std::atomic<double> fill_rate_{0};  // Bytes of cache per second, smoothed.
};

}  // namespace cw::appliance
