// Machines whose points are kept for different times.
#include "appliance/retention_table.h"

#include <set>

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t hour_us = recovery::us_per_hour;
constexpr WallMicros now{1'000'000 * hour_us};

template <typename Id>
Id id_of(std::uint8_t number) {
    Id id{};
    id.bytes.back() = std::byte{number};
    return id;
}

const MachineId brief = id_of<MachineId>(1), lasting = id_of<MachineId>(2);

class RetentionTableTest : public testing::Test {
protected:
    RetentionTableTest() { table_.by_machine[lasting] = 48 * hour_us; }
    // One point per hour, from `hours` ago until now.
    void add_hourly(const MachineId& machine, int hours, GroupId group = {}) {
        for (int age = hours; age >= 0; --age) {
            vault::PointEntry point;
            point.id = id_of<PointId>(static_cast<std::uint8_t>(points_.size() + 1));
            point.source_time = WallMicros{raw(now) - age * hour_us};
            point.group = group;
            points_.push_back({machine, point});
        }
    }
    // How old the oldest point is that `machine` keeps, in hours.
    std::int64_t oldest_kept(const MachineId& machine) {
        std::set<PointId> gone;
        for (const recovery::Pruned& pruned : plan_pruning(table_, points_, now)) {
            gone.insert(pruned.point);
        }
        std::int64_t oldest = 0;
        for (const recovery::RetentionPoint& each : points_) {
            if (each.machine == machine && !gone.contains(each.point.id)) {
                oldest = std::max(oldest, (raw(now) - raw(each.point.source_time)) / hour_us);
            }
        }
        return oldest;
    }

    RetentionTable table_{.fallback_us = 4 * hour_us, .by_machine = {}};
    std::vector<recovery::RetentionPoint> points_;
};

TEST_F(RetentionTableTest, AMachineWithoutItsOwnHasThatOfEveryone) {
    EXPECT_EQ(table_.of(brief), 4 * hour_us);
    EXPECT_EQ(table_.of(lasting), 48 * hour_us);
}

TEST_F(RetentionTableTest, EachMachinesPointsGoByItsOwnRetention) {
    add_hourly(brief, 60);
    add_hourly(lasting, 60);
    EXPECT_EQ(oldest_kept(brief), 4);
    EXPECT_LE(oldest_kept(lasting), 48);
    EXPECT_GT(oldest_kept(lasting), 44) << "one in two hours is kept at that age";
}

TEST_F(RetentionTableTest, APointOfAGroupStaysAsLongAsAnyMemberKeepsIt) {
    // Two group points, so that the older one is not kept for being the newest.
    for (const int age : {24, 12}) {
        const GroupId group = id_of<GroupId>(static_cast<std::uint8_t>(age));
        for (const MachineId& machine : {brief, lasting}) {
            add_hourly(machine, 0, group);
            points_.back().point.source_time = WallMicros{raw(now) - age * hour_us};
        }
    }
    add_hourly(brief, 3);
    add_hourly(lasting, 3);
    EXPECT_EQ(oldest_kept(brief), 24);
    EXPECT_EQ(oldest_kept(lasting), 24);
    table_.by_machine.clear();
    EXPECT_EQ(oldest_kept(brief), 3);
}

}  // namespace
}  // namespace cw::appliance
