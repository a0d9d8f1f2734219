#include "recovery/retention.h"

#include "base/assert.h"

#include <algorithm>
#include <map>
#include <set>

namespace cw::recovery {
namespace {

using vault::PointEntry;
using vault::PointKind;

// A point by itself, or all members of a group: kept or pruned as one.
struct Unit {
    std::vector<const RetentionPoint*> members;
    WallMicros time{};  // Of the earliest member: what all of them agree on.
    bool app = false;
    bool keep = false;
};

std::vector<Unit> make_units(std::span<const RetentionPoint> points) {
    std::map<GroupId, Unit> groups;
    std::vector<Unit> units;
    for (const RetentionPoint& each : points) {
        const bool alone = each.point.group.is_nil();
        Unit& unit = alone ? units.emplace_back() : groups[each.point.group];
        unit.time = unit.members.empty() ? each.point.source_time
                                         : std::min(unit.time, each.point.source_time);
        unit.app =
            unit.app || each.point.kind == PointKind::app || each.point.kind == PointKind::planned;
        unit.members.push_back(&each);
    }
    for (auto& [id, unit] : groups) {
        units.push_back(std::move(unit));
    }
    return units;
}

// Floor division: times before 1970 have buckets too.
std::int64_t bucket_of(WallMicros time, std::int64_t every) {
    const std::int64_t t = raw(time);
    return t / every - (t % every < 0 ? 1 : 0);
}

bool better(const Unit& a, const Unit& b) {
    return std::tuple(a.app, a.time, a.members.front()->point.id) >
           std::tuple(b.app, b.time, b.members.front()->point.id);
}

std::set<MachineId> machines_of(const Unit& unit) {
    std::set<MachineId> out;
    for (const RetentionPoint* member : unit.members) {
        out.insert(member->machine);
    }
    return out;
}

// Of each machine: the newest point, and the newest application-consistent one.
void keep_newest(std::vector<Unit>& units) {
    std::map<std::pair<MachineId, bool>, Unit*> newest;
    for (Unit& unit : units) {
        for (const MachineId& machine : machines_of(unit)) {
            for (const bool app : {false, true}) {
                Unit*& best = newest[{machine, app}];
                if ((!app || unit.app) && (best == nullptr || best->time < unit.time)) {
                    best = &unit;
                }
            }
        }
    }
    for (auto& [key, unit] : newest) {
        if (unit != nullptr) {
            unit->keep = true;
        }
    }
}

// One unit per bucket and machine among those of `rule`'s age. The winner is taken from the whole
// bucket, also from its part that a finer rule still covers.
void keep_by_rule(std::vector<Unit>& units, const RetentionRule& rule, WallMicros now) {
    std::map<std::pair<MachineId, std::int64_t>, Unit*> winners;
    for (Unit& unit : units) {
        if (raw(now) - raw(unit.time) > rule.until_us) {
            continue;
        }
        if (rule.every_us == 0) {
            unit.keep = true;
            continue;
        }
        for (const MachineId& machine : machines_of(unit)) {
            Unit*& best = winners[{machine, bucket_of(unit.time, rule.every_us)}];
            if (best == nullptr || better(unit, *best)) {
                best = &unit;
            }
        }
    }
    for (auto& [key, unit] : winners) {
        unit->keep = true;
    }
}

}  // namespace

RetentionPolicy default_retention() {
    return {{{2 * us_per_hour, 0},
             {24 * us_per_hour, us_per_hour},
             {7 * 24 * us_per_hour, 2 * us_per_hour},
             {15 * 24 * us_per_hour, 4 * us_per_hour}}};
}

RetentionPolicy retention_for(std::int64_t keep_us) {
    keep_us = std::max<std::int64_t>(keep_us, 1'000'000);
    RetentionPolicy policy = default_retention();
    const auto beyond = std::ranges::find_if(
        policy.rules, [keep_us](const RetentionRule& rule) { return rule.until_us >= keep_us; });
    policy.rules.erase(beyond == policy.rules.end() ? beyond : std::next(beyond),
                       policy.rules.end());
    policy.rules.back().until_us = keep_us;
    return policy;
}

Result<void> check_policy(const RetentionPolicy& policy) {
    std::int64_t before = -1;
    for (const RetentionRule& rule : policy.rules) {
        if (rule.every_us < 0 || rule.until_us <= before) {
            return fail(Errc::config_invalid, "retention rules reach further back one by one");
        }
        before = rule.until_us;
    }
    if (policy.rules.empty()) {
        return fail(Errc::config_invalid, "a retention policy has at least one rule");
    }
    return {};
}

std::vector<Pruned> plan_pruning(const RetentionPolicy& policy,
                                 std::span<const RetentionPoint> points, WallMicros now,
                                 std::int64_t skew_us_max) {
    CW_ASSERT(check_policy(policy).has_value());
    std::vector<Unit> units = make_units(points);
    if (units.empty()) {
        return {};
    }
    const WallMicros newest =
        std::ranges::max_element(units, {}, [](const Unit& unit) { return unit.time; })->time;
    now = std::min(now, WallMicros{raw(newest) + skew_us_max});
    keep_newest(units);
    for (const RetentionRule& rule : policy.rules) {
        keep_by_rule(units, rule, now);
    }
    std::vector<Pruned> out;
    for (const Unit& unit : units) {
        for (const RetentionPoint* member : unit.members) {
            if (!unit.keep) {
                out.push_back({member->machine, member->point.id});
            }
        }
    }
    std::ranges::sort(out);
    return out;
}

}  // namespace cw::recovery
