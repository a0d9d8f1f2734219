// What was acknowledged and is damaged in the cache: the agent sends it again, and no point is made
// of less.
#include "tests/upload/assembly_fixture.h"

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

using pipeline::PointState;

TEST_F(Assembly, G6DamageInTheCacheIsRepairedFromTheAgent) {
    protect();
    server.keep_payload = false;
    source.write(server, source.disks[0]);
    const auto victim = server.cache.records.rbegin()->first;
    server.cache.records.at(victim).damaged = true;
    source.write(server, source.disks[0]);
    const PointId lost = source.point(server);
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(lost); }));
    EXPECT_EQ(server.listener.points.at(lost).state, PointState::dropped);
    ASSERT_FALSE(server.listener.damage.empty());
    EXPECT_TRUE(server.conditions->standing(Errc::spool_lost_durable));
    EXPECT_FALSE(server.cache.records.empty());  // Nothing behind the damage is thrown away.

    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    SourceDisk& disk = source.disks[0];
    source.begin_sync(server, disk);
    source.write(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    const PointId point = source.point(server);
    server.listener.strict = false;  // What lay behind the damage is released, never committed.
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    source.write(server, disk);
    source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::spool_lost_durable));
}

// A copy of the server has what is damaged here, and commits the point that was dropped here.
TEST_F(Assembly, G6APointThatACopyOfTheServerCommittedIsNoLongerToldAsDropped) {
    protect();
    server.keep_payload = false;
    server.listener.strict = false;
    source.write(server, source.disks[0]);
    const auto victim = server.cache.records.rbegin()->first;
    const PointId point = source.point(server);
    Server copy(world, quick(), 2);
    copy.listener.strict = false;
    copy.cache.records = server.cache.records;
    server.cache.records.at(victim).damaged = true;
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(point); }));
    ASSERT_EQ(server.listener.points.at(point).state, PointState::dropped);
    copy.start();
    ASSERT_FALSE(copy.hello(source.machine, source.disks).refused.has_value());
    ASSERT_TRUE(copy.run_until([&] { return chain().points.contains(point); }));

    const vault::ChainState moved = chain();
    server.listener.newest_number = moved.newest.number;
    server.listener.newest_hash = moved.hash;
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    std::vector<PointState> told;
    for (const pipeline::PointStatus& status : answer.points) {
        if (status.id == point) {
            told.push_back(status.state);
        }
    }
    EXPECT_EQ(told, std::vector{PointState::committed});
}

// Every place of the backlog is taken by what lies behind the damage: the fence that ends it comes
// after that, and must be read.
TEST_F(Assembly, G6DamageWithAFullBacklogBehindItIsRepairedFromTheAgent) {
    server.options.backlog_records = 8;
    protect();
    server.keep_payload = false;
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    for (int i = 0; i < 20; ++i) {
        source.write(server, disk);
    }
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    const PointId point = source.point(server);
    server.listener.strict = false;
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    // Also when the machine is stopped while it waits for its repair.
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    for (int i = 0; i < 20; ++i) {
        source.write(server, disk);
    }
    const std::size_t seen = server.listener.damage.size();
    ASSERT_TRUE(server.run_until([&] { return server.listener.damage.size() > seen; }));
    server.engine->post(CloseCommand{source.machine});
    ASSERT_TRUE(server.run_until(
        [this] { return server.engine->status().machines.front().mode == MachineMode::closed; }));
    server.engine->post(DiscardQuarantineCommand{source.machine});
    EXPECT_TRUE(server.settle());
}

// They may be all that the cache has room for: then the BASE that replaces them would never fit.
TEST_F(Assembly, G9WhatLiesBehindDamageGoesAsSoonAsTheVaultKnowsTheFenceThatRepairsIt) {
    protect();
    server.keep_payload = false;
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    for (int i = 0; i < 5; ++i) {
        source.write(server, disk);
    }
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    ASSERT_FALSE(server.cache.records.empty());
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    server.listener.strict = false;
    source.begin_sync(server, disk);
    EXPECT_TRUE(server.run_until([this] { return server.cache.records.empty(); }));
    source.send_base(server, disk);
    source.end_sync(server, disk);
    expect_next_point_committed();
}

// The fence may be behind other disks' writes, which need room too.
TEST_F(Assembly, G9WhatLiesBehindDamageGoesAtOnceWhereTheCacheHasNoRoomForTheRepair) {
    protect();
    server.keep_payload = false;
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    for (int i = 0; i < 5; ++i) {
        source.write(server, disk);
    }
    server.listener.room_wanted = true;
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto all_gone = [this] { return server.cache.records.empty(); };
    EXPECT_FALSE(server.run_until(all_gone, 2000)) << "nobody is there to repair it";
    server.listener.strict = false;
    ASSERT_EQ(server.hello(source.machine, source.disks, Seq{0}, true).disks[0].action,
              pipeline::DiskAction::catch_up);
    EXPECT_TRUE(server.run_until(all_gone));
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    expect_next_point_committed();
}

// What is in front of the damage is on its way to the vault. Told of less, the agent would send a
// fence again that is on its way as well, and nothing would be taken for the repair.
TEST_F(Assembly, G9TheAgentIsToldOfWhatIsPublishedAllTheSame) {
    protect();
    server.keep_payload = false;
    world.vault->set_rates({.unavailable = 1.0});
    SourceDisk& disk = source.disks[0];
    source.begin_sync(server, disk);
    source.write(server, disk);
    source.send_base(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    EXPECT_EQ(answer.disks[0].durable, Seq{raw(disk.next) - 1});
    EXPECT_LT(answer.disks[0].committed, disk.fence);
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    expect_next_point_committed();
}

// It lies behind the damage, so its sequence is free: the agent, which never heard that it arrived,
// repairs the disk with the same fence.
TEST_F(Assembly, G9AFenceBehindDamageIsTakenOnceMoreForTheRepair) {
    protect();
    server.keep_payload = false;
    world.vault->set_rates({.unavailable = 1.0});
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    const Seq fence = disk.next;
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.write(server, disk);
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    ASSERT_LT(answer.disks[0].durable, fence);
    disk.next = fence;
    source.begin_sync(server, disk);
    ASSERT_EQ(disk.fence, fence);
    source.send_base(server, disk);
    source.write(server, disk);
    source.end_sync(server, disk);
    expect_next_point_committed();
}

TEST_F(Assembly, G9WhatIsLostOfAHistoryThatWasReplacedAsksForNoRepair) {
    protect();
    server.keep_payload = false;
    world.vault->set_rates({.unavailable = 1.0});
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    const auto victim = server.cache.records.rbegin()->first;
    server.feeding = false;
    disk.generation = Generation{2};
    disk.next = Seq{1};
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    const PointId point = source.point(server);
    server.cache.records.at(victim).damaged = true;
    server.feeding = true;
    server.listener.strict = false;
    for (int i = 0; i < 2000; ++i) {
        server.step();
    }
    world.vault->set_rates({});
    ASSERT_TRUE(server.settle());
    EXPECT_TRUE(server.listener.damage.empty());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// Bulk connections may overtake the fence: its BASE lies behind the damage then, and is not of the
// past. The next opening finds the fence in the vault, and takes it.
TEST_F(Assembly, G9BaseThatOvertookTheFenceThatRepairsItsDiskIsKept) {
    protect();
    server.keep_payload = false;
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    source.write(server, disk);
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    server.listener.strict = false;
    server.feeding = false;
    source.begin_sync(server, disk);
    const pipeline::Lsn begin = server.cache.records.rbegin()->first;
    source.send_base(server, disk);
    const pipeline::Lsn base = server.cache.records.rbegin()->first;
    ASSERT_LT(begin, base);
    std::swap(server.cache.records.at(begin), server.cache.records.at(base));
    server.feeding = true;
    // What came before the repair may go for want of room, but this may not.
    server.listener.room_wanted = true;
    server.feed_at_most = 1;
    for (int i = 0; i < 2000; ++i) {
        server.step();
    }
    ASSERT_TRUE(server.cache.records.contains(begin));
    server.feed_at_most = SIZE_MAX;
    const auto only_base_is_left = [this] {
        return std::ranges::all_of(server.cache.records, [](const auto& each) {
            return each.second.header.type == pipeline::RecordType::base;
        });
    };
    ASSERT_TRUE(server.run_until(only_base_is_left));
    for (int i = 0; i < 200; ++i) {
        server.step();
    }
    ASSERT_FALSE(server.cache.records.empty());
    server.crash();
    server.start();
    EXPECT_TRUE(server.settle());
    source.end_sync(server, disk, 1);
    expect_next_point_committed();
}

// Two places of the cache are damaged. The agent has caught up for the one that was found first
// when the other one is found, in front of it.
TEST_F(Assembly, G6DamageThatIsFoundInFrontOfItsRepairAsksForNoOther) {
    server.options.seal_after_ns = 60 * ns_per_s;
    server.keep_payload = false;
    server.listener.strict = false;
    protect();
    SourceDisk& disk = source.disks[0];
    source.write(server, disk);
    const auto unreadable = server.cache.records.rbegin()->first;
    source.write(server, disk);
    const auto missing = server.cache.records.rbegin()->first;
    source.write(server, disk);
    server.crash();
    server.cache.records.at(unreadable).damaged = true;
    server.cache.records.erase(missing);
    server.start();
    ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    // What is in front of the missing ones counts as sound, until it is read.
    ASSERT_GT(answer.disks[0].durable, answer.disks[0].committed);
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.end_sync(server, disk);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    ASSERT_TRUE(server.listener.points.contains(point));
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    EXPECT_EQ(server.listener.damage.size(), 1U);  // The other one is in the log.
    EXPECT_FALSE(server.conditions->standing(Errc::spool_lost_durable));
    EXPECT_EQ(server.hello(source.machine, source.disks, Seq{0}, true).disks[0].action,
              pipeline::DiskAction::continue_);
}

TEST_F(Assembly, G5AFenceThatEndsOverAHoleIsDamageAndNoPointIsMadeOfIt) {
    protect();
    SourceDisk& disk = source.disks[0];
    source.begin_sync(server, disk);
    source.write(server, disk);
    source.end_sync(server, disk, 1);  // What it counts never came.
    const PointId lost = source.point(server);
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(lost); }));
    EXPECT_EQ(server.listener.points.at(lost).state, PointState::dropped);
    EXPECT_FALSE(server.listener.damage.empty());

    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    source.send_base(server, disk);  // Twice counts once.
    source.end_sync(server, disk, 1);
    const PointId point = source.point(server);
    server.listener.strict = false;
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, OtherDisksGoOnBesideADamagedOne) {
    Source two(world, {1 * mib, 1 * mib});
    server.start();
    ASSERT_FALSE(server.hello(two.machine, two.disks).refused.has_value());
    two.sync_all(server);
    ASSERT_TRUE(server.settle());
    server.keep_payload = false;
    two.write(server, two.disks[0]);
    server.cache.records.rbegin()->second.damaged = true;
    two.write(server, two.disks[1]);
    const Seq reached = Seq{raw(two.disks[1].next) - 1};
    EXPECT_TRUE(server.run_until([&] {
        return server.listener.committed_seq[{two.disks[1].id, Generation{1}}] == reached;
    }));
}

}  // namespace
}  // namespace cw::upload::test
