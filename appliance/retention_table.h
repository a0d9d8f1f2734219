// RetentionTable: how long recovery points are kept, where machines differ.
#pragma once

#include "recovery/retention.h"

#include <map>
#include <span>
#include <vector>

namespace cw::appliance {

struct RetentionTable {
    std::int64_t fallback_us = 15 * 24 * recovery::us_per_hour;
    std::map<MachineId, std::int64_t> by_machine;

    [[nodiscard]] std::int64_t of(const MachineId& machine) const;
};

// As recovery::plan_pruning(), each point by its machine's retention. The points of a group go
// together: as late as those of the member that keeps them longest.
std::vector<recovery::Pruned> plan_pruning(const RetentionTable& table,
                                           std::span<const recovery::RetentionPoint> points,
                                           WallMicros now);

}  // namespace cw::appliance
