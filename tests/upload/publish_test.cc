// What is published: points, and the manifests that carry them.
#include "tests/upload/publish_fixture.h"

#include <algorithm>

namespace cw::upload::test {
namespace {

TEST_F(Publish, APointEqualToTheLastMakesNoManifest) {
    protect();
    const std::uint64_t before = chain().newest.number;
    const PointId same = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(same), PointState::same_as);
    EXPECT_EQ(server.listener.points.at(same).manifest_number, chain().points.at(first).manifest);
    EXPECT_EQ(chain().newest.number, before);
    world.clock.advance(16 * 60 * ns_per_s);
    const PointId later = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(later), PointState::same_as);
    const vault::ChainState state = chain();
    EXPECT_EQ(state.newest.number, before + 1);  // valid_until was extended.
    EXPECT_GT(state.points.at(first).valid_until, state.points.at(first).source_time);
    EXPECT_FALSE(state.points.contains(later));
}

TEST_F(Publish, AnApplicationPointIsWrittenEvenWhenNothingChanged) {
    protect();
    const PointId app = source.point(server, pipeline::PointKind::app);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(app), PointState::committed);
}

TEST_F(Publish, NoPointWhileAFenceIsOpen) {
    protect();
    source.begin_sync(server, source.disks[0]);
    source.write(server, source.disks[0]);
    const PointId inside = source.point(server);
    source.send_base(server, source.disks[0]);
    source.end_sync(server, source.disks[0]);
    const PointId after = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(inside), PointState::dropped);
    EXPECT_NE(server.listener.points.at(inside).reason, "");
    EXPECT_EQ(state_of(after), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Publish, C16_AGroupPointWaitsForItsResult) {
    protect();
    const GroupId group = make_id<GroupId>(*world.random);
    source.write(server, source.disks[0]);
    const PointId kept = source.point(server, pipeline::PointKind::crash, group, true);
    source.write(server, source.disks[0]);
    for (int i = 0; i < 20; ++i) {
        server.step();
    }
    EXPECT_FALSE(server.listener.points.contains(kept));
    source.point_result(server, kept, group, true);
    const PointId revoked = source.point(server, pipeline::PointKind::crash, group, true);
    source.point_result(server, revoked, group, false);
    source.write(server, source.disks[0]);
    const PointId silent = source.point(server, pipeline::PointKind::crash, group, true);
    ASSERT_TRUE(server.settle());
    const vault::ChainState state = chain();
    EXPECT_EQ(state.points.at(kept).group, group);
    EXPECT_TRUE(state.points.at(revoked).group.is_nil());  // A plain crash point of the machine.
    EXPECT_TRUE(state.points.at(silent).group.is_nil());
    EXPECT_EQ(check_points(world, source, state), 4U);
}

// An hour of a coordinator that is gone must not become an hour for each of its points.
TEST_F(Publish, C16_GroupPointsWithoutResultsWaitTogether) {
    protect();
    const GroupId group = make_id<GroupId>(*world.random);
    for (int i = 0; i < 4; ++i) {
        source.write(server, source.disks[0]);
        source.point(server, pipeline::PointKind::crash, group, true);
    }
    const Nanos begun = world.clock.boot();
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(check_points(world, source, chain()), 5U);
    EXPECT_LT(world.clock.boot() - begun, 2 * server.options.provisional_ns);
}

// It says nothing new itself, and what follows may wait for more: it must not begin to wait anew.
TEST_F(Publish, C16_AGroupPointThatHasWaitedIsWaitedForNoLonger) {
    protect();
    const PointId point =
        source.point(server, pipeline::PointKind::crash, make_id<GroupId>(*world.random), true);
    source.write(server, source.disks[0]);
    const Nanos begun = world.clock.boot();
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(point); }, 100000));
    EXPECT_EQ(state_of(point), PointState::same_as);
    EXPECT_LT(world.clock.boot() - begun, 2 * server.options.provisional_ns);
    EXPECT_TRUE(server.settle());
}

// The cache could not read it when its agent sent it again. A manifest that lists a point twice
// would be the last that anybody can read.
TEST_F(Publish, APointThatIsInTheCacheTwiceIsPublishedOnce) {
    protect();
    server.feeding = false;
    source.write(server, source.disks[0]);
    const PointId point =
        source.point(server, pipeline::PointKind::crash, make_id<GroupId>(*world.random));
    const auto record = server.cache.records.rbegin()->second;
    server.append(record.header, record.table, record.data);
    server.feeding = true;
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Publish, AHelloIsToldAgainWhatBecameOfTheNewestPoints) {
    protect();
    const PointId same = source.point(server);
    ASSERT_TRUE(server.settle());
    const auto told = [&](const PointId& id) -> std::optional<PointState> {
        const auto answer = server.hello(source.machine, source.disks);
        const auto at = std::ranges::find(answer.points, id, &pipeline::PointStatus::id);
        return at == answer.points.end() ? std::nullopt : std::optional(at->state);
    };
    EXPECT_EQ(told(first), PointState::committed);
    EXPECT_EQ(told(same), PointState::same_as);
    source.write(server, source.disks[0]);
    const PointId second = source.point(server);
    ASSERT_TRUE(server.settle());
    // It has heard of a later manifest, but that may have been another server's.
    EXPECT_EQ(told(first), PointState::committed);
    EXPECT_EQ(told(second), PointState::committed);
    // Another process, or another server, knows what the chain knows.
    server.crash();
    server.start();
    EXPECT_EQ(told(first), PointState::committed);
    EXPECT_EQ(told(second), PointState::committed);
}

TEST_F(Publish, PruningDropsPointsAndDeadHistories) {
    protect();
    source.write(server, source.disks[0]);
    const PointId second = source.point(server);
    ASSERT_TRUE(server.settle());
    server.engine->post(PruneCommand{.machine = source.machine,
                                     .decided_at = chain().newest.number,
                                     .points = {first},
                                     .dropped = {},
                                     .added = {}});
    ASSERT_TRUE(server.run_until([this] { return !chain().points.contains(first); }));
    EXPECT_EQ(check_points(world, source, chain()), 1U);
    // A point that does not exist: nothing happens.
    const std::uint64_t number = chain().newest.number;
    server.engine->post(PruneCommand{.machine = source.machine,
                                     .decided_at = number,
                                     .points = {first},
                                     .dropped = {},
                                     .added = {}});
    for (int i = 0; i < 200; ++i) {
        server.step();
    }
    EXPECT_EQ(chain().newest.number, number);
    EXPECT_TRUE(chain().points.contains(second));
}

// It would name a segment twice, which no reader takes.
TEST_F(Publish, APruneThatAddsASegmentTwiceIsRefused) {
    protect();
    const vault::ChainState before = chain();
    vault::SegmentRef added = before.segments.begin()->second;
    world.random->fill(added.name.attempt);
    server.engine->post(PruneCommand{.machine = source.machine,
                                     .decided_at = before.newest.number,
                                     .points = {},
                                     .dropped = {before.segments.begin()->first},
                                     .added = {added, added}});
    for (int i = 0; i < 200; ++i) {
        server.step();
    }
    EXPECT_EQ(chain().newest.number, before.newest.number);
    EXPECT_FALSE(server.conditions->standing(Errc::internal));
}

// One agent could else end the server for all of them, and again after each restart.
TEST_F(Publish, AMachineThatHasHadAllTheDisksItCanIsRefusedAnotherOne) {
    protect();
    std::size_t refused = 0;
    const auto hello_with = [&](std::uint8_t batch, std::size_t count) {
        std::vector<SourceDisk> disks(count, source.disks[0]);
        for (std::size_t i = 0; i < count; ++i) {
            disks[i].id.bytes = {std::byte{batch}, std::byte(i)};
            disks[i].generation = Generation{1};
            disks[i].next = Seq{1};
        }
        disks.push_back(source.disks[0]);
        const auto answer = server.hello(source.machine, disks);
        ASSERT_FALSE(answer.refused.has_value());
        EXPECT_EQ(answer.disks.back().action, pipeline::DiskAction::continue_);
        refused += static_cast<std::size_t>(std::ranges::count(
            answer.disks, pipeline::DiskAction::reject, &pipeline::DiskWelcome::action));
        ASSERT_TRUE(server.run_until([&] {
            return chain().newest.disks.size() == std::min<std::size_t>(256, 1 + 200UL * batch);
        }));
    };
    hello_with(1, 200);
    EXPECT_EQ(refused, 0U);
    hello_with(2, 100);
    EXPECT_EQ(refused, 45U);
    server.crash();
    server.start();
    hello_with(3, 1);
    EXPECT_EQ(refused, 46U);
    source.write(server, source.disks[0]);
    const PointId later = source.point(server);
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(later); }));
}

TEST_F(Publish, ANewHistoryLiesOverTheOneBefore) {
    protect();
    source.write(server, source.disks[0]);
    const PointId old_point = source.point(server);
    SourceDisk& disk = source.disks[0];
    disk.generation = Generation{2};
    disk.next = Seq{1};
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_EQ(answer.disks[0].action, pipeline::DiskAction::resync);
    EXPECT_EQ(answer.disks[0].generation, Generation{2});
    // Nothing differs from the parent but what is written from now on.
    source.begin_sync(server, disk);
    source.write(server, disk);
    source.end_sync(server, disk);
    const PointId new_point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(old_point), PointState::committed);
    EXPECT_EQ(state_of(new_point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 3U);
    EXPECT_EQ(chain().newest.disks[0].parent_generation, Generation{1});
}

// An agent that loses its state twice within one manifest's time: what is read through the history
// in the middle needs to know what that one lies over.
TEST_F(Publish, AHistoryThatIsReplacedAtOnceIsNamedAllTheSame) {
    protect();
    source.write(server, source.disks[0]);
    SourceDisk& disk = source.disks[0];
    for (const std::uint64_t generation : {2, 3}) {
        disk.generation = Generation{generation};
        disk.next = Seq{1};
        source.begin_sync(server, disk);
    }
    server.listener.strict = false;
    server.crash();  // Both are in the cache, and no manifest knows either.
    ASSERT_EQ(raw(chain().newest.disks[0].generation), 1U);
    server.start();
    ASSERT_TRUE(server.settle());
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.write(server, disk);
    source.end_sync(server, disk);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    const vault::ChainState state = chain();
    EXPECT_EQ(state.newest.disks[0].parent_generation, Generation{2});
    ASSERT_TRUE(state.lineage.contains({disk.id, Generation{2}}));
    EXPECT_EQ(state.lineage.at({disk.id, Generation{2}}).parent_generation, Generation{1});
    EXPECT_EQ(check_points(world, source, state), 2U);
}

TEST_F(Publish, ADiskItsAgentNoLongerListsStopsNoPoints) {
    Source two(world, {1 * mib, 1 * mib});
    server.start();
    ASSERT_FALSE(server.hello(two.machine, two.disks).refused.has_value());
    two.sync_all(server);
    two.point(server);
    ASSERT_TRUE(server.settle());
    two.disks.pop_back();
    ASSERT_FALSE(server.hello(two.machine, two.disks).refused.has_value());
    two.write(server, two.disks[0]);
    const PointId alone = two.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(alone), PointState::committed);
    EXPECT_EQ(check_points(world, two, read_state(world, two.machine)), 2U);
}

TEST_F(Publish, ANewKeyIsCommittedBeforeItIsUsed) {
    protect();
    server.engine->post(RotateDekCommand{source.machine});
    ASSERT_TRUE(server.run_until([this] { return chain().deks.size() == 2; }));
    for (int i = 0; i < 50; ++i) {  // The manifest is there; now the segments may use the key.
        server.step();
    }
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(server.settle());
    const vault::ChainState state = chain();
    EXPECT_TRUE(std::ranges::any_of(
        state.segments, [](const auto& entry) { return entry.second.dek_version == 2; }));
    EXPECT_EQ(check_points(world, source, state), 2U);
}

TEST_F(Publish, ASegmentThatWaitedTooLongIsStoredAgainBeforeItIsNamed) {
    server.options.segment_age_ns = 600 * ns_per_s;
    server.options.provisional_ns = 100'000 * ns_per_s;
    protect();
    const GroupId group = make_id<GroupId>(*world.random);
    const PointId undecided =
        source.point(server, pipeline::PointKind::crash, group, true);  // Blocks what follows.
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    const auto objects = [this] {
        return std::ranges::count(world.vault->names(), blob::Container::data,
                                  &blob::BlobName::container);
    };
    const auto before = objects();
    ASSERT_TRUE(server.run_until([&] { return objects() == before + 1; }));
    for (int i = 0; i < 50; ++i) {  // The ledger must know of it.
        server.step();
    }
    world.clock.advance(700 * ns_per_s);
    ASSERT_TRUE(server.run_until([&] { return objects() == before + 2; }));
    source.point_result(server, undecided, group, true);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 3U);
}

TEST_F(Publish, AtTheMemoryLimitOfChainsPublishingWaitsForPruning) {
    EngineOptions options = publish_options();
    options.chain_bytes_max = 1;
    Server small(world, options, 3);
    small.start();
    ASSERT_FALSE(small.hello(source.machine, source.disks).refused.has_value());
    source.sync_all(small);
    const PointId whole = source.point(small);
    ASSERT_TRUE(small.run_until([&] { return small.conditions->standing(Errc::out_of_budget); }));
    ASSERT_TRUE(small.run_until([&] { return small.listener.points.contains(whole); }));
    source.write(small, source.disks[0]);
    const PointId held = source.point(small);
    for (int i = 0; i < 300; ++i) {
        small.step(10 * ns_per_ms);
    }
    EXPECT_FALSE(small.listener.points.contains(held));
    EXPECT_FALSE(small.cache.records.empty());  // Nothing is lost, and the cache holds it.
    // However long that takes, what waits is not stored over and over.
    const auto objects = [this] {
        return std::ranges::count(world.vault->names(), blob::Container::data,
                                  &blob::BlobName::container);
    };
    const auto stored = objects();
    for (int hours = 0; hours < 48; ++hours) {
        world.clock.advance(3600 * ns_per_s);
        for (int i = 0; i < 50; ++i) {
            small.step(10 * ns_per_ms);
        }
    }
    EXPECT_EQ(objects(), stored);
    const auto prune_all = [&] {
        const vault::ChainState state = chain();
        PruneCommand all{.machine = source.machine,
                         .decided_at = state.newest.number,
                         .points = {},
                         .dropped = {},
                         .added = {}};
        for (const auto& [id, point] : state.points) {
            all.points.push_back(id);
        }
        for (const auto& [name, ref] : state.segments) {
            all.dropped.push_back(name);
        }
        small.engine->post(all);
    };
    prune_all();
    ASSERT_TRUE(small.run_until([&] { return small.listener.points.contains(held); }));
    EXPECT_EQ(small.listener.points.at(held).state, PointState::committed);
    EXPECT_EQ(objects(), stored + 1);  // Too old to be named, and young again.
    prune_all();
    (void)small.run_until([&] { return !small.conditions->standing(Errc::out_of_budget); });
    EXPECT_FALSE(small.conditions->standing(Errc::out_of_budget));
}

}  // namespace
}  // namespace cw::upload::test
