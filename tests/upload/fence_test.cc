// What a fence covers when records that were acknowledged are missing (docs/decisions/0024).
#include "tests/upload/rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

using pipeline::PointState;

class Fence : public testing::TestWithParam<std::uint64_t> {
protected:
    void SetUp() override {
        server.start();
        ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
        source.sync_all(server);
        source.point(server);
        ASSERT_TRUE(server.settle());
    }
    // It was acknowledged and is gone with the cache.
    void lose_write() {
        std::ranges::fill(MutableBytes(disk.content).first(4096), std::byte{0x5a});
        disk.next = next(disk.next);
    }
    void expect_dropped(const PointId& point) {
        ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(point); }));
        EXPECT_EQ(server.listener.points.at(point).state, PointState::dropped);
        EXPECT_FALSE(server.listener.damage.empty());
    }
    void expect_repaired_by_catch_up() {
        const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
        ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
        source.begin_sync(server, disk);
        source.send_base(server, disk);
        source.end_sync(server, disk, 1);
        const PointId point = source.point(server);
        server.listener.strict = false;  // What lay behind the hole is released, never committed.
        ASSERT_TRUE(server.settle());
        EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
        EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 2U);
    }
    // Of everything above `told`, at once.
    void expect_catch_up_taken(Seq told) {
        source.catch_up(server, disk, told, GetParam());
        source.send_base(server, disk);
        source.end_sync(server, disk, 1);
        const PointId point = source.point(server);
        ASSERT_TRUE(server.settle());
        EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
        EXPECT_TRUE(server.listener.damage.empty());
        EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 2U);
    }

    World world{24};
    Server server{world, quick_options()};
    Source source{world, {2 * mib}};
    SourceDisk& disk = source.disks[0];
};

TEST_P(Fence, ThatResumesMayLeaveSequencesOutThatWereNeverUsed) {
    source.write(server, disk);
    source.resume(server, disk, GetParam());
    source.end_sync(server, disk, 0);
    source.write(server, disk);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_TRUE(server.listener.damage.empty());
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 2U);
}

TEST_P(Fence, G5ThatResumesIsNotBelievedAboveAHole) {
    lose_write();
    source.resume(server, disk, GetParam());
    source.end_sync(server, disk, 0);
    source.write(server, disk);
    expect_dropped(source.point(server));
    expect_repaired_by_catch_up();
}

TEST_P(Fence, G5ThatResumesRepairsNoDamage) {
    server.keep_payload = false;
    source.write(server, disk);
    server.cache.records.rbegin()->second.damaged = true;
    source.write(server, disk);
    expect_dropped(source.point(server));
    const auto answer = server.hello(source.machine, source.disks, Seq{0}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    source.resume(server, disk, GetParam());
    source.end_sync(server, disk, 0);
    source.write(server, disk);
    expect_dropped(source.point(server));
    expect_repaired_by_catch_up();
}

TEST_P(Fence, ThatCatchesUpStandsWhereItsAgentWasTold) {
    source.write(server, disk);
    expect_catch_up_taken(Seq{raw(disk.next) - 1});
}

// Another server has published what a copy of the machine sent, while this one held the fence.
TEST_P(Fence, G5ThatCatchesUpIsNotBelievedWhereTheHistoryWentOn) {
    const Seq told{raw(disk.next) - 1};
    source.write(server, disk);
    source.catch_up(server, disk, told, GetParam());
    source.end_sync(server, disk, 0);
    source.write(server, disk);
    expect_dropped(source.point(server));
    expect_repaired_by_catch_up();
}

// What the cache lost cannot be seen in the records that it still has: they are assembled beyond
// the end of the history that the agent is told.
TEST_P(Fence, ThatRepairsWhatOnlyTheCacheLostIsTakenAtOnce) {
    const Seq told{raw(disk.next) - 1};
    source.write(server, disk);
    server.base_lost = true;
    const auto answer = server.hello(source.machine, source.disks, Seq{1}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    ASSERT_EQ(answer.disks[0].durable, told);
    expect_catch_up_taken(told);
}

INSTANTIATE_TEST_SUITE_P(Leap, Fence, testing::Values(0U, 1000U, (1ULL << 40) + 7));

// The first copy of a disk, of which the vault knows nothing yet.
TEST(FenceOfAFirstCopy, ThatRepairsItIsTakenAtOnce) {
    World world{25};
    Server server{world, quick_options()};
    Source source{world, {2 * mib}};
    SourceDisk& disk = source.disks[0];
    server.start();
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.begin_sync(server, disk);
    source.write(server, disk);
    server.crash();
    server.base_lost = true;
    server.feeding = false;  // The cache is read back later than the agent comes.
    server.start();
    const auto answer = server.hello(source.machine, source.disks, Seq{1}, true);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::catch_up);
    ASSERT_EQ(answer.disks[0].durable, Seq{0});
    server.feeding = true;
    source.catch_up(server, disk, Seq{0}, 0);
    source.send_base(server, disk);
    source.end_sync(server, disk, 1);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_TRUE(server.listener.damage.empty());
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 1U);
}

}  // namespace
}  // namespace cw::upload::test
