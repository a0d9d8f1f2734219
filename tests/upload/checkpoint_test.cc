// Checkpoints: where reading a chain begins, and how far back its manifests are kept.
#include "tests/upload/publish_fixture.h"

namespace cw::upload::test {
namespace {

class Checkpoints : public Publish {};

TEST_F(Checkpoints, ComeInTime) {
    server.options.checkpoint_every = 4;
    protect();
    for (int i = 0; i < 10; ++i) {
        source.write(server, source.disks[0]);
        source.point(server);
        ASSERT_TRUE(server.settle());
    }
    const vault::ChainState state = chain();
    EXPECT_LT(state.newest.number - state.newest.checkpoint, 4U);
    EXPECT_EQ(check_points(world, source, state), 11U);
}

// Else a server that is restarted now and then would keep all its manifests for ever.
TEST(Boundary, MovesOnThoughTheServerIsRestartedMoreOftenThanItsCheckpointsAreLeft) {
    World world{7};
    EngineOptions options = publish_options();
    options.checkpoint_every = 4;
    options.checkpoints_kept = 4;
    Server server{world, options};
    Source source{world, {1 * mib}};
    server.start();
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.sync_all(server);
    ASSERT_TRUE(server.settle());
    std::uint64_t before = 0;
    for (int restart = 0; restart < 12; ++restart) {
        for (int point = 0; point < 4; ++point) {  // About one checkpoint's worth.
            source.write(server, source.disks[0]);
            source.point(server);
            ASSERT_TRUE(server.settle());
        }
        server.crash();
        server.start();
        ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
        const vault::ChainState state = read_state(world, source.machine);
        EXPECT_GE(state.newest.boundary, before);
        before = state.newest.boundary;
    }
    const vault::Manifest newest = read_state(world, source.machine).newest;
    // As many checkpoints as are kept, each with its manifests and a takeover, and the open one.
    EXPECT_GT(newest.number, 50U);
    EXPECT_GE(newest.boundary + 5UL * (4 + 2), newest.number);
}

// A checkpoint's entries move into runs when they are many; a lost answer or a crash in between
// leaves orphans and nothing else.
TEST_F(Checkpoints, StandOnRunsWhateverHappensToTheirRequests) {
    EngineOptions options = publish_options();
    options.checkpoint_every = 4;
    options.checkpoints_kept = 2;
    options.runs = {.inline_bytes = 1000, .run_bytes = 2000, .runs_max = 4};
    Server runs(world, options, 3);
    runs.listener.strict = false;
    runs.start();
    ASSERT_FALSE(runs.hello(source.machine, source.disks).refused.has_value());
    source.sync_all(runs);
    world.vault->set_rates({.unavailable = 0.02, .lost_reply = 0.05, .lost_request = 0.05});
    for (int i = 0; i < 60; ++i) {
        source.write(runs, source.disks[0]);
        const PointId point = source.point(runs);
        ASSERT_TRUE(runs.run_until([&] { return runs.listener.points.contains(point); }));
        EXPECT_EQ(runs.listener.points.at(point).state, PointState::committed);
    }
    world.vault->set_rates({});
    const vault::ChainState state = chain();
    EXPECT_GE(state.runs.size(), 5U);
    EXPECT_GT(state.newest.boundary, 1U);  // Manifests before the checkpoints kept may go.
    EXPECT_LT(state.newest.boundary, state.newest.checkpoint);
    EXPECT_EQ(check_points(world, source, state), 60U);
}

}  // namespace
}  // namespace cw::upload::test
