#include "appliance/server.h"

#include "appliance/notify.h"
#include "appliance/point_policies.h"
#include "base/log.h"

#include <algorithm>
#include <utility>

namespace cw::appliance {
namespace {

// How long a stage may go without a round: half of what the service manager waits for a sign of
// life, so that it acts on a thread that hangs within its own time and a half.
std::int64_t stalled_after_ns() {
    constexpr std::int64_t unwatched = 30 * ns_per_s, least = 5 * ns_per_s;
    const std::int64_t sign_of_life = watchdog_interval_ns();
    return sign_of_life == 0 ? unwatched : std::max(least, sign_of_life * 3 / 2);
}
constexpr double fill_rate_ticks = 30;  // A half-minute average at one tick a second.

double full_forecast_s(std::uint64_t room, double fill_rate) {
    return fill_rate > 1 ? static_cast<double>(room) / fill_rate : -1;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(const config::Settings& settings,
                                              ServerContext context) {
    const auto make =
        settings.server_role == "master-target" ? make_master_target : make_process_server;
    std::unique_ptr<Server> server(new Server(settings, context, make(settings, context)));
    CW_TRY(server->open());
    return server;
}

Server::Server(const config::Settings& settings, ServerContext context,
               std::unique_ptr<Terminal> terminal)
    : settings_(settings),
      context_(std::move(context)),
      intake_(settings, context_),
      terminal_(std::move(terminal)),
      health_metrics_(*context_.seams.metrics),
      certificate_trouble_(context_.conditions, "certificate"),
      stalled_after_ns_(stalled_after_ns()) {}

Server::~Server() {
    intake_.stop();
    terminal_->stop();
    intake_.settle_reads();
}

Result<void> Server::open() {
    CW_TRY_ASSIGN(plan_, terminal_->plan(Intake::memory_needs(settings_)));
    CW_TRY(intake_.open_cache(plan_.slabs));
    CW_TRY(terminal_->connect(intake_, plan_));
    CW_TRY(intake_.open_door(*terminal_));
    intake_.listener().policies().set(point_policies(settings_));
    terminal_->start();
    intake_.start();
    return {};
}

void Server::fill_status(DaemonStatus& status) const {
    status.memory_budget_bytes = plan_.budget.total();
    status.sessions = intake_.listener().connection_count();
    status.cache = intake_.usage();
    status.cache_full_forecast_s = full_forecast_s(status.cache.room, fill_rate_.load());
    terminal_->fill_status(status);
    for (const upload::MachineStatus& machine : status.engine.machines) {
        status.agents[machine.machine] = intake_.agents().agent_of(machine.machine);
    }
}

void Server::apply(const config::Settings& settings) {
    settings_ = settings;
    terminal_->apply(settings);
    intake_.listener().policies().set(point_policies(settings));
    certificate_trouble_.show(intake_.listener().reload_tls());
}

bool Server::tick() {
    terminal_->tick();
    intake_.listener().sessions().tick();
    intake_.store_quarantines();
    watch_cache();
    show_health();
    return watch_threads();
}

void Server::watch_cache() {
    MetricRegistry& metrics = *context_.seams.metrics;
    const cache::SpoolUsage usage = intake_.usage();
    const double grown = static_cast<double>(usage.live) - static_cast<double>(last_live_);
    const double rate = fill_rate_.load();
    fill_rate_.store(rate + (grown - rate) / fill_rate_ticks);
    last_live_ = usage.live;
    metrics.gauge("causeway_cache_full_forecast_seconds")
        .set(full_forecast_s(usage.room, fill_rate_.load()));
    metrics.gauge("causeway_stage_queue", {{"stage", "spool"}})
        .set(static_cast<double>(intake_.records_queued()));
}

void Server::show_health() {
    DaemonStatus shown;
    fill_status(shown);
    intake_.agents().watch(shown.engine.machines,
                           static_cast<std::int64_t>(settings_.ingest_agent_silent_ms) * ns_per_ms);
    shown.conditions = context_.conditions.list();
    health_metrics_.show(shown, judge_health(shown, settings_));
    context_.seams.metrics->gauge("causeway_cert_expiry_seconds")
        .set(static_cast<double>(intake_.listener().watch_certificate()));
}

bool Server::watch_threads() {
    std::vector<StageThread> threads = intake_.threads();
    std::ranges::move(terminal_->threads(), std::back_inserter(threads));
    const Nanos now = context_.seams.clock->boot();
    // A machine that slept, or this process: every stage is late, and none hangs.
    const bool awake = now - std::exchange(last_watch_, now) < stalled_after_ns_ / 2;
    for (const StageThread& thread : threads) {
        Counter& cpu = context_.seams.metrics->counter("causeway_stage_cpu_seconds_total",
                                                       {{"stage", thread.stage}});
        cpu.add(std::max(0.0, thread.cpu_seconds - cpu.value()));
        if (awake && raw(thread.last_round) != 0) {
            const std::int64_t limit = stalled_after_ns_ + thread.patience_ns;
            show_stall(thread.stage, limit, now - thread.last_round > limit);
        }
    }
    return stalled_.empty();
}

void Server::show_stall(const std::string& stage, std::int64_t limit_ns, bool stalled) {
    if (stalled == stalled_.contains(stage)) {
        return;
    }
    const std::string subject = "stage " + stage;
    if (stalled) {
        stalled_.insert(stage);
        log_error("appliance.stage_stalled", {{"stage", stage}});
        context_.conditions.raise(Errc::internal, subject,
                                  "no round for " + std::to_string(limit_ns / ns_per_s) +
                                      " s; the service manager is told nothing until it goes on");
    } else {
        stalled_.erase(stage);
        log_warning("appliance.stage_goes_on", {{"stage", stage}});
        context_.conditions.clear(Errc::internal, subject);
    }
}

void Server::drain(const DrainLimit& limit) {
    const bool quiet = intake_.close_door(limit);
    const bool sent = terminal_->drain(limit);
    const bool closed = intake_.close_cache();
    log_info("appliance.drained", {{"sessions", quiet}, {"uploads", sent}, {"cache", closed}});
}

std::optional<Error> Server::failed() const {
    if (intake_.cache_failed()) {
        return Error{Errc::io_error, "the cache device failed; a restart runs recovery"};
    }
    return std::nullopt;
}

}  // namespace cw::appliance
