// A disk that was taken out of its machine: what is kept of it, for how long, and what it meets
// when it comes back.
#include "tests/upload/publish_fixture.h"

#include <algorithm>

namespace cw::upload::test {
namespace {

class Departed : public Publish {
protected:
    Departed() {
        source.disks.push_back(Source(world, {1 * mib}).disks.front());
        std::ranges::sort(source.disks, {}, &SourceDisk::id);
    }

    // Both disks are in `first`; from `second` on there is one.
    void take_out() {
        protect();
        gone.push_back(source.disks[1]);
        source.disks.pop_back();
        greet();
        source.write(server, source.disks[0]);
        second = source.point(server);
        ASSERT_TRUE(server.settle());
        ASSERT_EQ(state_of(second), PointState::committed);
    }
    pipeline::MachineOpened greet() { return server.hello(source.machine, source.disks); }
    void prune(std::vector<PointId> points) {
        const PointId last = points.back();
        server.engine->post(PruneCommand{.machine = source.machine,
                                         .decided_at = chain().newest.number,
                                         .points = std::move(points),
                                         .dropped = {},
                                         .added = {}});
        ASSERT_TRUE(server.run_until([&] { return !chain().points.contains(last); }));
    }
    // Whatever the answer, which the caller looks at: in its history, whole. Returns a point of
    // both.
    PointId copy_anew(const pipeline::MachineOpened& answer) {
        SourceDisk& back = source.disks[1];
        back.generation = answer.disks[1].generation;
        back.next = Seq{1};
        source.begin_sync(server, back);
        source.send_base(server, back);
        source.end_sync(server, back);
        const PointId point = source.point(server);
        EXPECT_TRUE(server.settle());
        return point;
    }
    std::size_t segments_of_gone() {
        const vault::ChainState state = chain();
        return static_cast<std::size_t>(std::ranges::count_if(
            state.segments, [&](const auto& one) { return one.first.disk == gone.front().id; }));
    }
    vault::DiskEntry entry_of_gone() {
        const vault::ChainState state = chain();
        const auto at =
            std::ranges::find(state.newest.disks, gone.front().id, &vault::DiskEntry::disk);
        return at == state.newest.disks.end() ? vault::DiskEntry{} : *at;
    }

    PointId second;
    std::vector<SourceDisk> gone;
};

TEST_F(Departed, WhatItHoldsDiesWithTheLastPointThatNamesIt) {
    take_out();
    ASSERT_GT(segments_of_gone(), 0U);
    prune({first});
    EXPECT_EQ(segments_of_gone(), 0U);
    EXPECT_EQ(check_points(world, source, chain()), 1U);
}

TEST_F(Departed, IsKeptAsLongAsAPointNamesIt) {
    take_out();
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(server.settle());
    prune({second});
    EXPECT_GT(segments_of_gone(), 0U);
    EXPECT_EQ(entry_of_gone().generation, Generation{1});
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Departed, IsLetGoOfByAServerThatWasRestarted) {
    take_out();
    server.crash();
    server.start();
    ASSERT_TRUE(server.settle());
    greet();
    prune({first});
    EXPECT_EQ(segments_of_gone(), 0U);
}

// What it would be compared with is gone, and the sequences that it used must not come again.
TEST_F(Departed, IsCopiedWholeWhenItComesBackTooLate) {
    take_out();
    prune({first});
    source.disks.push_back(gone.front());
    const auto answer = greet();
    ASSERT_EQ(answer.disks.size(), 2U);
    EXPECT_EQ(answer.disks[1].action, pipeline::DiskAction::initial) << answer.disks[1].reason;
    EXPECT_EQ(answer.disks[1].generation, Generation{3});
    EXPECT_EQ(state_of(copy_anew(answer)), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// Its agent has been promised a comparison, which needs the content.
TEST_F(Departed, IsKeptWhenItIsBackBeforeTheLastPointThatNamesItIsPruned) {
    take_out();
    source.disks.push_back(gone.front());
    const auto answer = greet();
    ASSERT_EQ(answer.disks.size(), 2U);
    EXPECT_EQ(answer.disks[1].action, pipeline::DiskAction::resync) << answer.disks[1].reason;
    prune({first});
    EXPECT_GT(segments_of_gone(), 0U);
    EXPECT_EQ(entry_of_gone().generation, Generation{1});
}

// After so many steps of the server.
class DepartedAndBack : public Departed, public testing::WithParamInterface<int> {};

TEST_P(DepartedAndBack, IsWholeInThePointsToCome) {
    take_out();
    server.engine->post(PruneCommand{.machine = source.machine,
                                     .decided_at = chain().newest.number,
                                     .points = {first},
                                     .dropped = {},
                                     .added = {}});
    for (int i = 0; i < GetParam(); ++i) {
        server.step();
    }
    source.disks.push_back(gone.front());
    const auto answer = greet();
    ASSERT_EQ(answer.disks.size(), 2U);
    EXPECT_GT(answer.disks[1].generation, Generation{1});
    EXPECT_EQ(state_of(copy_anew(answer)), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

INSTANTIATE_TEST_SUITE_P(WhileItsPointIsPruned, DepartedAndBack, testing::Range(0, 9));

}  // namespace
}  // namespace cw::upload::test
