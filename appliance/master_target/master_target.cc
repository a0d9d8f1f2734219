#include "appliance/master_target/master_target.h"

#include "appliance/data_disk.h"
#include "appliance/engine_options.h"
#include "appliance/master_target/target_settings.h"
#include "appliance/order_body.h"
#include "appliance/resync_order.h"
#include "appliance/site_records.h"
#include "base/log.h"
#include "recovery/catalog.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::uint64_t fixed_bytes = 96 * mib;            // Code, indexes of cache and redo logs.
constexpr auto order_patience = std::chrono::seconds(60);  // A point's merge may be under way.

std::string told(const std::string& what) {
    return json{{"told", what}}.dump(-1, ' ', true, json::error_handler_t::replace);
}

Result<TargetOrder> parse_order(TargetOrder::What what, const std::string& body) {
    constexpr OrderField machine{"machine", FieldKind::text, true},
        disk{"disk", FieldKind::text, true}, point{"point", FieldKind::text, true};
    const bool switches = what == TargetOrder::What::switch_;
    CW_TRY_ASSIGN(const json asked, switches ? read_order(body, {machine, disk, point})
                                             : read_order(body, {machine, disk}));
    TargetOrder order{
        .what = what, .machine = {}, .disk = asked["disk"].get<std::string>(), .point = {}};
    CW_TRY_ASSIGN(order.machine, parse_id<MachineId>(asked["machine"].get<std::string>()));
    if (switches) {
        CW_TRY_ASSIGN(order.point, parse_id<PointId>(asked["point"].get<std::string>()));
    }
    return order;
}

// The disk that the target was begun for. Errors: not_found: none yet.
Result<DiskId> disk_of(Disk& disk, const TargetStatus& target) {
    if (const auto id = parse_id<DiskId>(target.disk)) {
        return *id;
    }
    CW_TRY_ASSIGN(const auto state,
                  volume::read_volume_state(disk, target.work_directory + "/state"));
    return state.disk;
}

bool is_damage(Errc code) {
    return code == Errc::object_corrupt || code == Errc::format_unsupported;
}

}  // namespace

std::unique_ptr<Terminal> make_master_target(const config::Settings& settings,
                                             ServerContext context) {
    return std::make_unique<MasterTarget>(settings, std::move(context));
}

// Nothing transforms or uploads: whatever is left is the door's.
Result<pipeline::MemoryPlan> MasterTarget::plan(pipeline::BudgetNeeds needs) {
    if (const auto made = make_site_records(settings_, context_.seams); !made) {
        // What operators chose is not needed to take a machine's writes.
        if (!is_damage(made.error().code)) {
            return std::unexpected(made.error());
        }
        context_.conditions.raise(made.error().code, "records", made.error().detail);
    }
    CW_TRY(orders_.load());
    const std::uint64_t connections = needs.ingest_connections * needs.connection_bytes;
    const std::uint64_t readback = VolumeStage::readback_slabs_min * pipeline::slab_bytes;
    const std::uint64_t others = fixed_bytes + connections + readback;
    const std::uint64_t least =
        others + pipeline::minimum_slabs(needs).ingest * pipeline::slab_bytes;
    if (needs.limit_bytes < least) {
        return fail(Errc::config_invalid,
                    "pipeline.memory must be at least " + std::to_string(least / mib + 1) + "MiB");
    }
    pipeline::MemoryPlan plan;
    plan.slabs.ingest = (needs.limit_bytes - others) / pipeline::slab_bytes;
    plan.slabs.readback = VolumeStage::readback_slabs_min;
    plan.budget.add("fixed", fixed_bytes, "code, indexes of cache and redo logs");
    plan.budget.add("connections", connections, "TLS state and buffers of ingest.max_connections");
    plan.budget.add("ingest", plan.slabs.ingest * pipeline::slab_bytes,
                    "slabs of 1 MiB: records from the socket to the redo log");
    plan.budget.add("readback", readback, "slabs of 1 MiB: records read back from the cache");
    return plan;
}

Result<void> MasterTarget::connect(Intake& intake, const pipeline::MemoryPlan& /*plan*/) {
    intake_ = &intake;
    CW_TRY_ASSIGN(std::vector<TargetOptions> targets, target_options(settings_));
    disk_ = make_data_disk(settings_);
    probe_ = volume::make_system_probe();
    FingerprintSecret secret{};
    context_.seams.random->fill(secret);
    stage_ = std::make_unique<VolumeStage>(
        VolumeStage::Context{.clock = *context_.seams.clock,
                             .volume = {*disk_, *probe_},
                             .reader = intake.reader(),
                             .readback_slabs = intake.readback_slabs(),
                             .sink = intake.sink(),
                             .conditions = context_.conditions,
                             .send_digests =
                                 [&intake](std::uint32_t reactor, ingest::DigestReply& reply) {
                                     return intake.send_digests(reactor, reply);
                                 },
                             .doorbell = runner_.doorbell()},
        std::move(targets), secret);
    return {};
}

void MasterTarget::start() {
    runner_.add(*stage_);
    runner_.start();
}

bool MasterTarget::drain(const DrainLimit& /*limit*/) {
    stop();  // What it has not taken stays in the cache.
    return true;
}

Result<std::string> MasterTarget::post(const std::string& name, const std::string& body) {
    if (name == "resync") {
        CW_TRY_ASSIGN(const ResyncOrder order,
                      parse_resync_order(body, resync_window_, *context_.seams.clock));
        return resync(order.subject, order.at);
    }
    if (name == "forgive") {
        CW_TRY_ASSIGN(const json order, read_order(body, {{"machine", FieldKind::text, true}}));
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(order["machine"].get<std::string>()));
        log_warning("server.forgive", {{"machine", machine}});
        intake_->forgive(machine);
        return told("the machine's identity is admitted again");
    }
    if (name != "target/switch" && name != "target/cancel") {
        return fail(Errc::usage, "a master target has no command " + name);
    }
    const bool switch_wanted = name == "target/switch";
    CW_TRY_ASSIGN(
        TargetOrder order,
        parse_order(switch_wanted ? TargetOrder::What::switch_ : TargetOrder::What::cancel, body));
    auto answer = stage_->ask(std::move(order));
    if (answer.wait_for(order_patience) != std::future_status::ready) {
        return fail(Errc::server_busy,
                    "the order was taken and is not carried out yet: look at `causeway target "
                    "list`");
    }
    CW_TRY(answer.get());
    return std::string(switch_wanted ? "{\"switched\": true}" : "{\"cancelled\": true}");
}

// Of targets that collect: one that is done, or becomes a point, takes nothing.
Result<std::string> MasterTarget::resync(const std::string& subject, WallMicros at) {
    const auto disk_for_states = make_posix_disk();
    std::size_t ordered = 0, others = 0;
    for (const TargetStatus& target : stage_->status()) {
        const auto disk = disk_of(*disk_for_states, target);
        if (!disk || (subject != to_string(target.machine) && subject != to_string(*disk))) {
            continue;
        }
        if (target.phase != volume::Phase::collecting) {
            ++others;
            continue;
        }
        CW_TRY(orders_.order_resync(target.machine, *disk, at, "ordered by an operator"));
        ++ordered;
    }
    if (ordered == 0) {
        return others == 0 ? fail(Errc::not_found, "no target has a machine or a disk " + subject)
                           : fail(Errc::transition_refused,
                                  "the disk takes nothing more: `causeway target cancel` makes it "
                                  "a target again, which is compared then");
    }
    log_info("server.resync_ordered", {{"subject", subject}, {"disks", ordered}});
    const bool later = at > context_.seams.clock->wall();
    return told("ordered for " + std::to_string(ordered) + (ordered == 1 ? " disk" : " disks") +
                (later ? ", from " + recovery::time_text(at) + " on" : "") +
                "; causeway target list shows the comparison");
}

// A session that stands says HELLO again, and is told what is due.
void MasterTarget::tick() {
    orders_trouble_.show(orders_.save());
    for (const MachineId& machine : orders_.take_due(context_.seams.clock->wall())) {
        intake_->end_session(machine);
    }
    context_.seams.metrics->gauge("causeway_stage_queue", {{"stage", "volume"}})
        .set(static_cast<double>(stage_->stored().size()));
}

std::vector<StageThread> MasterTarget::threads() const {
    return {{"volume", runner_.cpu_seconds(), runner_.last_round()}};
}

}  // namespace cw::appliance
