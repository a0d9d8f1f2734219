#include "recovery/group_table.h"

#include "egress/vault/names.h"
#include "pipeline/group_id.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using fakes::VaultRig;

// Machines that share points, in one vault.
class GroupTables : public testing::Test {
protected:
    explicit GroupTables(std::size_t count = 3) {
        for (std::size_t i = 0; i < count; ++i) {
            machines_.push_back(make_id<MachineId>(*random_));
        }
        for (const MachineId& machine : machines_) {
            rigs_.push_back(std::make_unique<VaultRig>(*store_, *kek_, *random_, machine));
            vault::DiskEntry& disk = rigs_.back()->disk(make_id<DiskId>(*random_));
            disk.size_bytes = mib;
            disk.generation = Generation{1};
            disk.protected_ = true;
            (void)rigs_.back()->publish_point({}, time_);  // One of its own.
        }
    }
    // What a machine's publisher writes when POINT_RESULT says committed.
    PointId publish(std::size_t machine, const GroupId& group) {
        VaultRig& rig = *rigs_[machine];
        vault::Manifest manifest = rig.next();
        vault::PointEntry point;
        point.id = make_id<PointId>(*random_);
        point.kind = vault::PointKind::crash;
        point.group = group;
        point.source_time = point.valid_until = time_;
        for (const vault::DiskEntry& disk : manifest.disks) {
            point.cuts.push_back({.disk = disk.disk,
                                  .generation = disk.generation,
                                  .cut = disk.committed,
                                  .stream_hash = {},
                                  .size_bytes = disk.size_bytes});
        }
        manifest.points.push_back(point);
        rig.publish(manifest);
        return point.id;
    }
    void prune(std::size_t machine, const PointId& point) {
        vault::Manifest manifest = rigs_[machine]->next();
        manifest.pruned.push_back(point);
        rigs_[machine]->publish(manifest);
    }
    GroupId new_group() { return pipeline::make_group_id(machines_, *random_); }
    GroupTable table() {
        GroupTable out;
        for (const MachineId& machine : machines_) {
            const auto catalog = Catalog::open(*store_, *kek_, machine, {});
            catalog ? out.add(*catalog) : out.add_unreadable(machine, catalog.error());
        }
        return out;
    }
    static bool names(const GroupTable::Verdict& verdict, const MachineId& machine) {
        return verdict.without == std::vector{machine} &&
               verdict.reason.find(to_string(machine)) != std::string::npos;
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::MemoryVault memory_{clock_, {.seed = 7, .shuffle = true}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<vault::KeyService> kek_ = fakes::make_test_kek("k", *random_);
    std::vector<MachineId> machines_;
    std::vector<std::unique_ptr<VaultRig>> rigs_;
    WallMicros time_{1'700'000'000'000'000};
};

TEST_F(GroupTables, PointExistsOnceTheLastMemberHasPublishedItsPart) {
    const GroupId group = new_group();
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_FALSE(table().judge(group).whole) << i;
        const PointId point = publish(i, group);
        EXPECT_EQ(table().point_of(machines_[i], group)->id, point);
    }
    const auto verdict = table().judge(group);
    EXPECT_TRUE(verdict.whole) << verdict.reason;
    EXPECT_EQ(verdict.with.size(), 3U);
    EXPECT_TRUE(verdict.without.empty());
}

// A server that dropped it (damage, takeover) never writes it; nobody has to have seen an earlier
// point of the group.
TEST_F(GroupTables, NamesTheMemberWhosePartWasNeverPublished) {
    const GroupId group = new_group();
    publish(0, group);
    publish(2, group);
    const auto verdict = table().judge(group);
    EXPECT_FALSE(verdict.whole);
    EXPECT_TRUE(names(verdict, machines_[1])) << verdict.reason;
}

TEST_F(GroupTables, PointEndsWhenRetentionTakesOnePart) {
    const GroupId first = new_group(), second = new_group();
    PointId victim;
    for (std::size_t i = 0; i < 3; ++i) {
        victim = publish(i, first);
        publish(i, second);
    }
    EXPECT_TRUE(table().judge(first).whole);
    prune(2, victim);
    EXPECT_TRUE(names(table().judge(first), machines_[2]));
    EXPECT_TRUE(table().judge(second).whole);
}

TEST_F(GroupTables, SeveralMembersWithoutTheirPartAreKnownByAnEarlierPoint) {
    const GroupId first = new_group(), second = new_group();
    for (std::size_t i = 0; i < 3; ++i) {
        publish(i, first);
    }
    publish(1, second);
    const auto verdict = table().judge(second);
    EXPECT_FALSE(verdict.whole);
    EXPECT_EQ(verdict.without.size(), 2U);
    // Without an earlier one they are at least counted.
    const GroupId other = pipeline::make_group_id(
        std::vector{machines_[0], machines_[1], make_id<MachineId>(*random_)}, *random_);
    publish(0, other);
    const auto counted = table().judge(other);
    EXPECT_FALSE(counted.whole);
    EXPECT_NE(counted.reason.find("3 machines had a part of it, 1 have it now"), std::string::npos)
        << counted.reason;
}

TEST_F(GroupTables, MachineThatCannotBeReadHasNoPart) {
    const GroupId group = new_group();
    for (std::size_t i = 0; i < 3; ++i) {
        publish(i, group);
    }
    for (const auto& name : memory_.names()) {
        if (name.container == blob::Container::manifest &&
            name.name.find(to_string(machines_[0])) != std::string::npos) {
            memory_.flip_bit(name, 2000);
        }
    }
    const auto verdict = table().judge(group);
    EXPECT_FALSE(verdict.whole);
    EXPECT_TRUE(names(verdict, machines_[0])) << verdict.reason;
    EXPECT_NE(verdict.reason.find("cannot be read"), std::string::npos);
}

TEST_F(GroupTables, StrangersPointOfTheSameIdDoesNotMakeItWhole) {
    const GroupId group =
        pipeline::make_group_id(std::vector{machines_[0], make_id<MachineId>(*random_)}, *random_);
    publish(0, group);
    publish(1, group);
    EXPECT_FALSE(table().judge(group).whole);
}

TEST_F(GroupTables, IdOfAnOlderAgentIsJudgedByWhoSharesOtherPoints) {
    const auto first = make_id<GroupId>(*random_), second = make_id<GroupId>(*random_);
    publish(0, first);
    EXPECT_FALSE(table().judge(first).whole);  // Nobody shares a point with himself.
    publish(1, first);
    EXPECT_TRUE(table().judge(first).whole);
    publish(0, second);
    EXPECT_TRUE(names(table().judge(second), machines_[1]));
}

// Points of one group of three, made without any vault.
TEST(GroupTable, JudgesEachOfFiveThousandPointsByItself) {
    constexpr std::size_t count = 5000;
    const auto random = make_seeded_random(11);
    std::vector<MachineId> machines;
    for (int i = 0; i < 3; ++i) {
        machines.push_back(make_id<MachineId>(*random));
    }
    std::ranges::sort(machines);
    std::vector<GroupId> groups;
    for (std::size_t i = 0; i < count; ++i) {  // Every second one by an older agent.
        groups.push_back(i % 2 == 0 ? pipeline::make_group_id(machines, *random)
                                    : make_id<GroupId>(*random));
    }
    const auto has = [](std::size_t machine, std::size_t point) {
        return point % 100 != 7 + machine && (point % 100 != 20 || machine == 0);
    };
    GroupTable table;
    for (std::size_t machine = 0; machine < machines.size(); ++machine) {
        vault::ChainState state;
        for (std::size_t i = 0; i < count; ++i) {
            vault::PointEntry point;
            point.id = make_id<PointId>(*random);
            point.group = groups[i];
            if (has(machine, i)) {
                state.points.emplace(point.id, point);
            }
        }
        table.add(Catalog::of_points({}, machines[machine], std::move(state), {}));
    }
    std::size_t whole = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto verdict = table.judge(groups[i]);
        std::vector<MachineId> with, without;
        for (std::size_t machine = 0; machine < machines.size(); ++machine) {
            (has(machine, i) ? with : without).push_back(machines[machine]);
        }
        ASSERT_EQ(verdict.whole, without.empty()) << i;
        ASSERT_EQ(verdict.with, with) << i;
        ASSERT_EQ(verdict.without, without) << i;
        whole += verdict.whole ? 1U : 0U;
    }
    EXPECT_EQ(whole, count - 4 * count / 100);
}

}  // namespace
}  // namespace cw::recovery
