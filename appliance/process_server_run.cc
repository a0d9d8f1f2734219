// A running process server: status, metrics, live settings, draining.
#include "appliance/process_server.h"
#include "base/log.h"

#include <algorithm>

#include <poll.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t stalled_after_ns = 30 * ns_per_s;

// Waits until `done()` or the deadline. Draining is the main thread's only business by then.
bool wait_until(Clock& clock, Nanos deadline, const auto& done) {
    while (!done()) {
        if (clock.boot() - deadline >= 0) {
            return false;
        }
        ::poll(nullptr, 0, 5);
    }
    return true;
}

}  // namespace

void ProcessServer::fill_status(DaemonStatus& status) {
    status.memory_budget_bytes = plan_.budget.total();
    status.sessions = listener_->connection_count();
    status.engine = engine_->status();
    const std::lock_guard lock(usage_mutex_);
    status.cache = usage_;
    if (fill_rate_ > 1) {
        status.cache_full_forecast_s = static_cast<double>(usage_.room) / fill_rate_;
    }
}

void ProcessServer::apply(const config::Settings& settings) {
    settings_ = settings;
    engine_->set_lanes(
        {.upload_threads_per_vm = static_cast<std::uint32_t>(settings.egress_upload_threads_per_vm),
         .total_connections = static_cast<std::uint32_t>(settings.egress_total_connections)});
    apply_bandwidth();
    maintenance_->set_retention(static_cast<std::int64_t>(settings.points_retention_ms) * 1000);
    if (const auto reloaded = listener_->reload_tls(); !reloaded) {
        context_.conditions.raise(reloaded.error().code, "certificate", reloaded.error().detail);
    }
}

bool ProcessServer::tick() {
    if (!recover_posted_ && spool_stage_->delivered_recovered()) {
        recover_posted_ = true;
        recover_machines();
    }
    const upload::EngineStatus status = engine_->status();
    note_witnesses(status);
    store_quarantines();
    show_metrics(status);
    const Nanos now = context_.seams.clock->boot();
    bool lively = true;
    const auto check = [&](const char* stage, Nanos last_round) {
        if (raw(last_round) != 0 && now - last_round > stalled_after_ns) {
            log_error("appliance.stage_stalled", {{"stage", stage}});
            lively = false;
        }
    };
    check("spool", spool_runner_->last_round());
    check("assembly", assembly_runner_->last_round());
    check("admission", admission_runner_->last_round());
    return lively;
}

// What the cache still holds is uploaded without waiting for the agents: their site may be the
// disaster.
void ProcessServer::recover_machines() {
    for (const MachineId& machine : recovered_) {
        const std::lock_guard lock(witness_mutex_);
        engine_->post(
            upload::RecoverCommand{.machine = machine, .server_witness = witness_.of(machine)});
    }
}

void ProcessServer::note_witnesses(const upload::EngineStatus& status) {
    const std::lock_guard lock(witness_mutex_);
    for (const upload::MachineStatus& machine : status.machines) {
        if (machine.manifest_number > 0 && machine.mode == upload::MachineMode::active) {
            witness_.note(machine.machine,
                          {.number = machine.manifest_number, .hash = machine.manifest_hash});
        }
    }
    if (const auto stored = witness_.store(*context_.seams.disk); !stored) {
        context_.conditions.raise(stored.error().code, "witness", stored.error().detail);
    }
}

void ProcessServer::store_quarantines() {
    const auto stored = quarantine_.store(*context_.seams.disk, listener_->sessions());
    if (!stored) {
        context_.conditions.raise(stored.error().code, "quarantine", stored.error().detail);
    } else {
        context_.conditions.clear(Errc::io_error, "quarantine");
    }
}

void ProcessServer::show_metrics(const upload::EngineStatus& status) {
    MetricRegistry& metrics = *context_.seams.metrics;
    {
        const std::lock_guard lock(usage_mutex_);
        usage_ = spool_stage_->usage();
        const double grown = static_cast<double>(usage_.live) - static_cast<double>(last_live_);
        fill_rate_ += (grown - fill_rate_) / 30;  // A half-minute average at one tick a second.
        last_live_ = usage_.live;
        metrics.gauge("causeway_cache_full_forecast_seconds")
            .set(fill_rate_ > 1 ? static_cast<double>(usage_.room) / fill_rate_ : -1);
    }
    for (const auto& [stage, used] : cpu_by_stage()) {
        Counter& counter = metrics.counter("causeway_stage_cpu_seconds_total", {{"stage", stage}});
        counter.add(std::max(0.0, used - counter.value()));
    }
    std::size_t records = 0;
    for (const auto& rings : rings_) {
        records += rings->records.size();
    }
    metrics.gauge("causeway_stage_queue", {{"stage", "spool"}}).set(static_cast<double>(records));
    metrics.gauge("causeway_stage_queue", {{"stage", "assembly"}})
        .set(static_cast<double>(engine_->stored().size()));
    metrics.gauge("causeway_stage_queue", {{"stage", "transform"}})
        .set(static_cast<double>(status.jobs_running));
    DaemonStatus shown;
    fill_status(shown);
    shown.conditions = context_.conditions.list();
    health_metrics_.show(shown, judge_health(shown, settings_));
    metrics.gauge("causeway_cert_expiry_seconds")
        .set(static_cast<double>(listener_->watch_certificate()));
}

std::vector<std::pair<std::string, double>> ProcessServer::cpu_by_stage() const {
    std::vector<std::pair<std::string, double>> out{{"spool", spool_runner_->cpu_seconds()},
                                                    {"assembly", assembly_runner_->cpu_seconds()},
                                                    {"admission", admission_runner_->cpu_seconds()},
                                                    {"publish", publish_runner_->cpu_seconds()},
                                                    {"open", open_runner_->cpu_seconds()}};
    double ingest = 0, upload = 0;
    for (std::size_t i = 0; i < listener_->reactor_count(); ++i) {
        ingest += listener_->reactor(i).cpu_seconds();
    }
    for (const auto& runner : upload_runners_) {
        upload += runner->cpu_seconds();
    }
    out.emplace_back("ingest", ingest);
    out.emplace_back("upload", upload);
    return out;
}

void ProcessServer::drain(std::int64_t limit_ns) {
    Clock& clock = *context_.seams.clock;
    const Nanos deadline = clock.boot() + limit_ns;
    listener_->begin_drain();
    const bool quiet = wait_until(clock, deadline, [&] { return listener_->drained(); });
    listener_->stop();
    store_quarantines();
    engine_->drain(false);
    const bool sent = wait_until(clock, deadline, [&] { return engine_->drained(); });
    spool_runner_->stop();
    // The thread is gone: the last syncs and the checkpoint of the cache are made here.
    spool_stage_->drain();
    pipeline::Progress progress = pipeline::Progress::worked;
    constexpr std::size_t budget = 64;
    wait_until(clock, clock.boot() + 10 * ns_per_s, [&] {
        progress = spool_stage_->step(budget);
        return progress == pipeline::Progress::drained || spool_stage_->failed();
    });
    log_info("appliance.drained", {{"sessions", quiet},
                                   {"uploads", sent},
                                   {"cache", progress == pipeline::Progress::drained}});
}

std::optional<Error> ProcessServer::failed() const {
    if (spool_stage_->failed()) {
        return Error{Errc::io_error, "the cache device failed; a restart runs recovery"};
    }
    return std::nullopt;
}

}  // namespace cw::appliance
