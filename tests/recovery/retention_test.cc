#include "recovery/retention.h"

#include "base/random.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

constexpr std::int64_t minute = us_per_hour / 60, day = 24 * us_per_hour;
constexpr std::int64_t start = 1'700'000'000'000'000 / (4 * us_per_hour) * (4 * us_per_hour);

struct Rig {
    std::unique_ptr<Random> random = make_seeded_random(1);
    MachineId machine = make_id<MachineId>(*random);

    RetentionPoint at(std::int64_t us, vault::PointKind kind = vault::PointKind::crash) {
        RetentionPoint out{machine, {}};
        out.point.id = make_id<PointId>(*random);
        out.point.kind = kind;
        out.point.source_time = WallMicros{us};
        return out;
    }
};

std::vector<RetentionPoint> prune(std::vector<RetentionPoint> points, std::int64_t now,
                                  const RetentionPolicy& policy = default_retention()) {
    const auto pruned = plan_pruning(policy, points, WallMicros{now});
    std::erase_if(points, [&pruned](const RetentionPoint& each) {
        return std::ranges::binary_search(pruned, Pruned{each.machine, each.point.id});
    });
    return points;
}

std::size_t count_between(const std::vector<RetentionPoint>& points, std::int64_t from,
                          std::int64_t to) {
    return static_cast<std::size_t>(std::ranges::count_if(points, [=](const RetentionPoint& p) {
        return raw(p.point.source_time) > from && raw(p.point.source_time) <= to;
    }));
}

TEST(Retention, KeepsTheTableOfThePolicy) {
    Rig rig;
    std::vector<RetentionPoint> points;
    const std::int64_t now = start + 20 * day;
    for (std::int64_t t = start; t <= now; t += 5 * minute) {
        points.push_back(rig.at(t));
    }
    const auto kept = prune(points, now);
    EXPECT_EQ(count_between(kept, now - 2 * us_per_hour, now), 24U);
    EXPECT_EQ(count_between(kept, now - day, now - 2 * us_per_hour),
              23U);  // One is exactly 2 h old.
    EXPECT_EQ(count_between(kept, now - 7 * day, now - day), 6U * 12);
    EXPECT_EQ(count_between(kept, now - 15 * day, now - 7 * day), 8U * 6);
    EXPECT_EQ(count_between(kept, 0, now - 15 * day), 0U);
}

TEST(Retention, PruningAsTimePassesNeverLosesWhatItPromised) {
    Rig rig;
    std::vector<RetentionPoint> points;
    for (std::int64_t now = start; now < start + 17 * day; now += 10 * minute) {
        points.push_back(
            rig.at(now + static_cast<std::int64_t>(rig.random->below(minute)),
                   rig.random->below(20) == 0 ? vault::PointKind::app : vault::PointKind::crash));
        const auto kept = prune(points, now + minute);
        EXPECT_EQ(prune(kept, now + minute).size(), kept.size());  // Pruning twice changes nothing.
        points = kept;
    }
    const std::int64_t now = start + 17 * day;
    for (std::int64_t t = now - 15 * day + 8 * us_per_hour; t < now; t += 4 * us_per_hour) {
        EXPECT_GE(count_between(points, t - 4 * us_per_hour, t), 1U) << (now - t) / us_per_hour;
    }
}

TEST(Retention, PrefersApplicationConsistentPoints) {
    Rig rig;
    const std::int64_t now = start + 3 * day;
    const auto app = rig.at(start + 10 * minute, vault::PointKind::app);
    const auto kept =
        prune({rig.at(start + 5 * minute), app, rig.at(start + 50 * minute), rig.at(now)}, now);
    ASSERT_EQ(kept.size(), 2U);
    EXPECT_EQ(kept[0].point.id, app.point.id);
}

TEST(Retention, NeverPrunesTheNewestPointOrTheNewestAppPoint) {
    Rig rig;
    const auto app = rig.at(start, vault::PointKind::app);
    const auto last = rig.at(start + day);
    const auto kept = prune({app, rig.at(start + minute), last}, start + 400 * day);
    ASSERT_EQ(kept.size(), 2U);  // `now` is not believed that far ahead of the newest point.
    const auto later = rig.at(start + 400 * day);
    const auto after = prune({app, rig.at(start + minute), last, later}, start + 400 * day);
    ASSERT_EQ(after.size(), 2U);
    EXPECT_EQ(after[0].point.id, app.point.id);
    EXPECT_EQ(after[1].point.id, later.point.id);
}

TEST(Retention, G5_AJumpingClockPrunesNothingExtra) {  // G5 of the catalogue
    Rig rig;
    std::vector<RetentionPoint> points;
    for (int i = 0; i < 24; ++i) {
        points.push_back(rig.at(start + i * 5 * minute));
    }
    EXPECT_EQ(prune(points, start + 3650 * day).size(),
              prune(points, start + 3 * us_per_hour).size());
    EXPECT_EQ(prune(points, start - 3650 * day).size(), points.size());
}

TEST(Retention, GroupsAreKeptOrPrunedTogether) {
    Rig a, b;
    b.random = make_seeded_random(2);
    b.machine = make_id<MachineId>(*b.random);
    std::vector<RetentionPoint> points;
    const std::int64_t now = start + 10 * day;
    for (std::int64_t t = start; t <= now; t += 30 * minute) {
        const auto group = make_id<GroupId>(*a.random);
        auto first = a.at(t - 1), second = b.at(t + 2);  // On both sides of every bucket's edge.
        first.point.group = second.point.group = group;
        points.push_back(first);
        points.push_back(second);
        points.push_back(b.at(t + 7 * minute));
    }
    const auto kept = prune(points, now);
    std::map<GroupId, int> members;
    for (const RetentionPoint& each : kept) {
        if (!each.point.group.is_nil()) {
            ++members[each.point.group];
        }
    }
    EXPECT_GT(members.size(), 50U);
    for (const auto& [group, count] : members) {
        EXPECT_EQ(count, 2);
    }
}

TEST(Retention, RefusesImpossiblePolicies) {
    EXPECT_TRUE(check_policy(default_retention()));
    EXPECT_EQ(check_policy({}).error().code, Errc::config_invalid);
    EXPECT_FALSE(check_policy({{{2, 0}, {1, 0}}}));
    EXPECT_FALSE(check_policy({{{2, -1}}}));
}

TEST(Retention, AnotherLengthCutsOrContinuesTheTable) {
    const RetentionPolicy short_one = retention_for(60'000'000);
    ASSERT_EQ(short_one.rules.size(), 1U);
    EXPECT_EQ(short_one.rules[0].until_us, 60'000'000);
    EXPECT_EQ(short_one.rules[0].every_us, 0);
    const RetentionPolicy one_day = retention_for(24 * us_per_hour);
    ASSERT_EQ(one_day.rules.size(), 2U);
    EXPECT_EQ(one_day.rules[1].every_us, us_per_hour);
    const RetentionPolicy one_year = retention_for(365 * 24 * us_per_hour);
    ASSERT_EQ(one_year.rules.size(), 4U);
    EXPECT_EQ(one_year.rules[3].until_us, 365 * 24 * us_per_hour);
    for (const std::int64_t keep : {0L, 1L, 3'600'000'000L * 2, 3'600'000'000L * 24 * 15}) {
        EXPECT_TRUE(check_policy(retention_for(keep)));
    }
}

}  // namespace
}  // namespace cw::recovery
