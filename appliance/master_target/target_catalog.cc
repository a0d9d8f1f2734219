#include "appliance/master_target/target_catalog.h"

#include "appliance/control_client.h"
#include "appliance/master_target/target_settings.h"
#include "appliance/site_records.h"
#include "egress/volume/point_view.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

using Lists = std::vector<std::optional<volume::PointList>>;

// Per target; nullopt: nothing was begun there.
Result<Lists> list_all_points(const std::vector<TargetOptions>& targets, Disk& disk) {
    Lists out;
    for (const TargetOptions& target : targets) {
        auto list = volume::list_points(disk, target.work_directory);
        if (!list && list.error().code != Errc::not_found) {
            return std::unexpected(list.error());
        }
        out.push_back(list ? std::optional(std::move(*list)) : std::nullopt);
    }
    return out;
}

const volume::HeldPoint* find(const std::optional<volume::PointList>& list, const PointId& id) {
    if (!list) {
        return nullptr;
    }
    const auto found = std::ranges::find(list->points, id, &volume::HeldPoint::id);
    return found == list->points.end() ? nullptr : &*found;
}

// nullopt: not every target could become it.
std::optional<vault::PointEntry> entry_of(const volume::HeldPoint& point, const Lists& lists) {
    vault::PointEntry entry;
    entry.id = point.id;
    entry.kind = static_cast<vault::PointKind>(point.kind);  // The numbers are the same.
    entry.tag = point.tag;
    entry.source_time = entry.valid_until = point.source_time;
    entry.group = point.group;
    for (const auto& list : lists) {
        const volume::HeldPoint* const here = find(list, point.id);
        if (here == nullptr) {
            return std::nullopt;
        }
        if (here->provisional) {  // Not decided, revoked, or this target was not there to hear it.
            entry.group = {};
        }
        entry.cuts.push_back({.disk = list->state.disk,
                              .generation = here->generation,
                              .cut = here->cut,
                              .stream_hash = {},
                              .size_bytes = list->state.size_bytes});
    }
    return entry;
}

// What the daemon has taken, durable or not: the state names what its newest point holds. Of a disk
// that was done when the daemon started it has taken nothing, and knows no generation: the state
// alone says what became of what was taken before.
void note_received(vault::DiskEntry& disk, const json& targets, const std::string& path) {
    for (const json& target : targets) {
        const Generation generation{target.value("generation", std::uint64_t{0})};
        if (target.value("path", "") == path && raw(generation) != 0) {
            disk.generation = generation;
            disk.committed = Seq{target.value("received_seq", std::uint64_t{0})};
        }
    }
}

vault::ChainState state_of(const MachineId& machine, const std::vector<TargetOptions>& targets,
                           const Lists& lists, const json& daemon) {
    vault::ChainState state;
    state.newest.machine = machine;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (!lists[i]) {
            continue;
        }
        vault::DiskEntry disk;
        disk.disk = lists[i]->state.disk;
        disk.name = parse_id<DiskId>(targets[i].disk) ? "" : targets[i].disk;
        disk.size_bytes = lists[i]->state.size_bytes;
        disk.generation = lists[i]->state.generation;
        disk.committed = lists[i]->state.received;
        disk.protected_ = lists[i]->state.point.has_value();
        if (state.newest.machine_name.empty()) {
            state.newest.machine_name = lists[i]->state.machine_name;
        }
        note_received(disk, daemon, targets[i].path);
        state.newest.disks.push_back(std::move(disk));
    }
    if (!lists.front()) {
        return state;
    }
    // Oldest first: their order is the targets', whatever the source's clock did.
    const auto& points = lists.front()->points;
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
        auto entry = entry_of(*point, lists);
        if (!entry) {
            continue;
        }
        const auto time =
            static_cast<std::uint64_t>(std::max<std::int64_t>(0, raw(point->source_time)));
        entry->manifest = state.newest.number = std::max(state.newest.number + 1, time);
        state.newest.time = point->source_time;
        state.points.emplace(entry->id, std::move(*entry));
    }
    return state;
}

class TargetSite final : public Site {
public:
    TargetSite(const config::Settings& settings, SystemSeams& seams,
               const vault::VaultIdentity& records)
        : settings_(settings), seams_(seams), records_(records) {}

    Result<std::vector<MachineId>> machines() const override {
        return machines_with_targets(settings_);
    }

    Result<recovery::Catalog> open(const MachineId& machine, bool /*accept_stale*/) const override {
        CW_TRY_ASSIGN(const auto targets, target_options_of(settings_, machine));
        CW_TRY_ASSIGN(const Lists lists, list_all_points(targets, *seams_.disk));
        // Nothing outlives this process that is compared by it.
        FingerprintSecret secret{};
        seams_.random->fill(secret);
        return recovery::Catalog::of_points(
            records_, machine, state_of(machine, targets, lists, targets_of_daemon()), secret);
    }

    bool knows_all_received() const override { return !daemon_silent_; }

    Result<std::vector<SwitchedTarget>> switched_targets(const MachineId& machine) const override {
        CW_TRY_ASSIGN(const auto targets, target_options_of(settings_, machine));
        std::vector<SwitchedTarget> switched;
        for (const TargetOptions& target : targets) {
            const auto state =
                volume::read_volume_state(*seams_.disk, target.work_directory + "/state");
            if (!state && state.error().code == Errc::not_found) {
                continue;
            }
            CW_TRY(state);
            if (state->phase != volume::Phase::collecting) {
                switched.push_back({.disk = target.disk,
                                    .path = target.path,
                                    .phase = std::string(volume::name_of(state->phase)),
                                    .point = state->point ? state->point->id : PointId{}});
            }
        }
        return switched;
    }

    // Those that have become a point are targets again: what they hold now is compared with the
    // machine.
    Result<void> give_up_failover(const MachineId& machine) const override {
        CW_TRY_ASSIGN(const auto targets, switched_targets(machine));
        for (const SwitchedTarget& target : targets) {
            const json order{{"machine", to_string(machine)}, {"disk", target.disk}};
            CW_TRY(daemon(question_s_max)
                       .post("target/cancel",
                             order.dump(-1, ' ', false, json::error_handler_t::replace)));
        }
        return {};
    }

private:
    // Only for what it has taken since its newest points: a daemon that stands still is asked once.
    json targets_of_daemon() const {
        if (daemon_silent_) {
            return json::array();
        }
        const auto text = daemon(short_question_s_max).get("status");
        daemon_silent_ = !text;
        const json status = text ? json::parse(*text, nullptr, false) : json();
        return status.is_object() && status.contains("targets") ? status["targets"] : json::array();
    }
    ControlClient daemon(std::int64_t question_s) const {
        return {settings_.server_state_dir + "/control.sock", question_s};
    }

    const config::Settings settings_;
    SystemSeams& seams_;
    const vault::VaultIdentity records_;
    mutable bool daemon_silent_ = false;
};

}  // namespace

std::unique_ptr<const Site> make_target_site(const config::Settings& settings, SystemSeams& seams,
                                             const vault::VaultIdentity& records) {
    return std::make_unique<TargetSite>(settings, seams, records);
}

}  // namespace cw::appliance
