#include "appliance/retention_table.h"

#include <algorithm>

namespace cw::appliance {

std::int64_t RetentionTable::of(const MachineId& machine) const {
    const auto found = by_machine.find(machine);
    return found == by_machine.end() ? fallback_us : found->second;
}

std::vector<recovery::Pruned> plan_pruning(const RetentionTable& table,
                                           std::span<const recovery::RetentionPoint> points,
                                           WallMicros now) {
    std::map<GroupId, std::int64_t> groups;
    for (const recovery::RetentionPoint& each : points) {
        if (!each.point.group.is_nil()) {
            std::int64_t& longest = groups[each.point.group];
            longest = std::max(longest, table.of(each.machine));
        }
    }
    std::map<std::int64_t, std::vector<recovery::RetentionPoint>> by_retention;
    for (const recovery::RetentionPoint& each : points) {
        const bool alone = each.point.group.is_nil();
        by_retention[alone ? table.of(each.machine) : groups[each.point.group]].push_back(each);
    }
    std::vector<recovery::Pruned> out;
    for (const auto& [keep_us, those] : by_retention) {
        std::ranges::move(recovery::plan_pruning(recovery::retention_for(keep_us), those, now),
                          std::back_inserter(out));
    }
    return out;
}

}  // namespace cw::appliance
