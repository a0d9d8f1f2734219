// Retention: which recovery points to keep. A pure function from points to a list of those to
// prune; the owner's publisher makes a manifest of it, and GC deletes what that has declared dead.
//
// Each rule keeps one point per bucket of `every` among points younger than `until`. Buckets are
// aligned to absolute time and the default intervals divide each other, so a point that survives
// one rule is not replaced by another in the next, and pruning twice changes nothing. In a bucket
// an application-consistent point is preferred, then the newest.
#pragma once

#include "egress/vault/manifest.h"

#include <cstdint>
#include <span>
#include <vector>

namespace cw::recovery {

inline constexpr std::int64_t us_per_hour = 3'600'000'000;

struct RetentionRule {
    std::int64_t until_us = 0;  // Applies to points not older than this.
    std::int64_t every_us = 0;  // One point per that long; 0: all.
};

struct RetentionPolicy {
    std::vector<RetentionRule> rules;  // Ascending `until_us`. Older than the last: pruned.
};
// All points for 2 hours, hourly for 1 day, 2-hourly for 7 days, 4-hourly for 15 days.
RetentionPolicy default_retention();
// The default table for another length of time: cut off there, or its last rule continued. At least
// a second. What is newest is kept whatever this says: plan_pruning().
RetentionPolicy retention_for(std::int64_t keep_us);
// Errors: config_invalid (no rule, not ascending, negative).
Result<void> check_policy(const RetentionPolicy& policy);

// A point of one of the machines that are decided about together: members of a group are kept or
// pruned together, so give all machines of a group at once.
struct RetentionPoint {
    MachineId machine;
    vault::PointEntry point;
};
struct Pruned {
    MachineId machine;
    PointId point;
    friend auto operator<=>(const Pruned&, const Pruned&) = default;
};

// What to prune at wall time `now`. Never the newest point of a machine, nor its newest
// application-consistent one. `now` is believed only up to the newest point's time plus
// `skew_us_max`: a clock that jumped ahead must not prune everything. Points from the future are
// kept.
std::vector<Pruned> plan_pruning(const RetentionPolicy& policy,
                                 std::span<const RetentionPoint> points, WallMicros now,
                                 std::int64_t skew_us_max = us_per_hour);

}  // namespace cw::recovery
