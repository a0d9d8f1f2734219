// A running master target: orders, status, draining.
#include "appliance/master_target.h"
#include "base/log.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <poll.h>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::int64_t stalled_after_ns = 30 * ns_per_s;
constexpr auto order_patience = std::chrono::seconds(60);  // A point's merge may be under way.

bool wait_until(Clock& clock, Nanos deadline, const auto& done) {
    while (!done()) {
        if (clock.boot() - deadline >= 0) {
            return false;
        }
        ::poll(nullptr, 0, 5);
    }
    return true;
}

Result<TargetOrder> parse_order(TargetOrder::What what, const std::string& body) {
    const json asked = json::parse(body, nullptr, false);
    if (!asked.is_object()) {
        return fail(Errc::usage, "the body must be a JSON object");
    }
    const auto text = [&](const char* key) {
        const auto it = asked.find(key);
        return it != asked.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    TargetOrder order{.what = what, .machine = {}, .disk = text("disk"), .point = {}};
    CW_TRY_ASSIGN(order.machine, parse_id<MachineId>(text("machine")));
    if (what == TargetOrder::What::switch_) {
        CW_TRY_ASSIGN(order.point, parse_id<PointId>(text("point")));
    }
    return order;
}

}  // namespace

Result<std::string> MasterTarget::post(const std::string& name, const std::string& body) {
    if (name != "target/switch" && name != "target/cancel") {
        return fail(Errc::not_found, "no such command: " + name);
    }
    const bool switch_wanted = name == "target/switch";
    CW_TRY_ASSIGN(
        TargetOrder order,
        parse_order(switch_wanted ? TargetOrder::What::switch_ : TargetOrder::What::cancel, body));
    auto answer = volume_stage_->ask(std::move(order));
    if (answer.wait_for(order_patience) != std::future_status::ready) {
        return fail(Errc::server_busy,
                    "the order was taken and is not carried out yet: look at `causeway target "
                    "list`");
    }
    CW_TRY(answer.get());
    return std::string(switch_wanted ? "{\"switched\": true}" : "{\"cancelled\": true}");
}

void MasterTarget::fill_status(DaemonStatus& status) {
    status.memory_budget_bytes = budget_.total();
    status.sessions = listener_->connection_count();
    status.cache = spool_stage_->usage();
    status.targets = volume_stage_->status();
}

void MasterTarget::apply(const config::Settings& settings) {
    settings_ = settings;
    if (const auto reloaded = listener_->reload_tls(); !reloaded) {
        context_.conditions.raise(reloaded.error().code, "certificate", reloaded.error().detail);
    }
}

bool MasterTarget::tick() {
    MetricRegistry& metrics = *context_.seams.metrics;
    metrics.gauge("causeway_cert_expiry_seconds")
        .set(static_cast<double>(listener_->watch_certificate()));
    metrics.gauge("causeway_stage_queue", {{"stage", "volume"}})
        .set(static_cast<double>(volume_stage_->stored().size()));
    const Nanos now = context_.seams.clock->boot();
    bool lively = true;
    const auto check = [&](const char* stage, Nanos last_round) {
        if (raw(last_round) != 0 && now - last_round > stalled_after_ns) {
            log_error("appliance.stage_stalled", {{"stage", stage}});
            lively = false;
        }
    };
    check("volume", volume_runner_->last_round());
    check("spool", spool_runner_->last_round());
    check("admission", admission_runner_->last_round());
    return lively;
}

void MasterTarget::drain(std::int64_t limit_ns) {
    Clock& clock = *context_.seams.clock;
    const Nanos deadline = clock.boot() + limit_ns;
    listener_->begin_drain();
    const bool quiet = wait_until(clock, deadline, [&] { return listener_->drained(); });
    listener_->stop();
    volume_runner_->stop();  // What it has not taken stays in the cache.
    spool_runner_->stop();
    // The threads are gone: the last syncs and the checkpoint of the cache are made here.
    spool_stage_->drain();
    pipeline::Progress progress = pipeline::Progress::worked;
    constexpr std::size_t budget = 64;
    wait_until(clock, clock.boot() + 10 * ns_per_s, [&] {
        progress = spool_stage_->step(budget);
        return progress == pipeline::Progress::drained || spool_stage_->failed();
    });
    log_info("appliance.drained",
             {{"sessions", quiet}, {"cache", progress == pipeline::Progress::drained}});
}

std::optional<Error> MasterTarget::failed() const {
    if (spool_stage_->failed()) {
        return Error{Errc::io_error, "the cache device failed; a restart runs recovery"};
    }
    return std::nullopt;
}

}  // namespace cw::appliance
