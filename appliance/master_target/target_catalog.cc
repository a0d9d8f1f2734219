#include "appliance/master_target/target_catalog.h"

#include "appliance/control_client.h"
#include "appliance/master_target/target_settings.h"
#include "appliance/master_target/target_source.h"
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
    for (const auto& list : lists) {
        const volume::HeldPoint* const here = find(list, point.id);
        if (here == nullptr) {
            return std::nullopt;
        }
        entry.cuts.push_back({.disk = list->state.disk,
                              .generation = here->generation,
                              .cut = here->cut,
                              .stream_hash = {},
                              .size_bytes = list->state.size_bytes});
    }
    return entry;
}

// What the daemon has taken, durable or not: the state names what its newest point holds.
void note_received(vault::DiskEntry& disk, const json& targets, const std::string& path) {
    for (const json& target : targets) {
        if (target.value("path", "") == path) {
            disk.generation = Generation{target.value("generation", std::uint64_t{0})};
            disk.committed = Seq{target.value("received_seq", std::uint64_t{0})};
        }
    }
}

json targets_of_daemon(const config::Settings& settings) {
    const auto text = ControlClient{settings.server_state_dir + "/control.sock"}.get("status");
    const json status = text ? json::parse(*text, nullptr, false) : json();
    return status.is_object() && status.contains("targets") ? status["targets"] : json::array();
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

}  // namespace

Result<void> open_targets(const config::Settings& settings, SystemSeams& seams,
                          const MachineId& machine, OpenedCatalog& opened) {
    CW_TRY_ASSIGN(auto targets, target_options(settings));
    std::erase_if(targets, [&](const TargetOptions& one) { return one.machine != machine; });
    if (targets.empty()) {
        return fail(Errc::not_found, "no target for machine " + to_string(machine));
    }
    CW_TRY_ASSIGN(const Lists lists, list_all_points(targets, *seams.disk));
    opened.catalog = std::make_unique<recovery::Catalog>(recovery::Catalog::of_points(
        opened.access.identity, machine,
        state_of(machine, targets, lists, targets_of_daemon(settings))));
    opened.source = make_target_source(std::move(targets), settings.server_state_dir,
                                       to_string(make_id<Uuid<struct ReaderTag>>(*seams.random)));
    return {};
}

}  // namespace cw::appliance
