// Chains: who may write them, and what becomes of recovery points.
#include "egress/vault/control.h"
#include "tests/upload/rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

using pipeline::PointState;

EngineOptions quick() {
    EngineOptions options;
    options.seal_after_ns = 50 * ns_per_ms;
    options.commit_interval_ns = 20 * ns_per_ms;
    options.pause_first_ns = 2 * ns_per_ms;
    options.pause_max_ns = 20 * ns_per_ms;
    options.provisional_ns = 300 * ns_per_ms;
    return options;
}

class Publish : public testing::Test {
protected:
    void protect() {
        server.start();
        ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
        source.sync_all(server);
        first = source.point(server);
        ASSERT_TRUE(server.settle());
        ASSERT_EQ(state_of(first), PointState::committed);
    }
    PointState state_of(const PointId& id) { return server.listener.points.at(id).state; }
    vault::ChainState chain() { return read_state(world, source.machine); }

    World world{7};
    Server server{world, quick()};
    Source source{world, {1 * mib}};
    PointId first;
};

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

TEST_F(Publish, AGroupPointWaitsForItsResult) {
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

TEST_F(Publish, E1AZombieIsFencedAndLeavesOnlyOrphans) {
    protect();
    source.write(server, source.disks[0]);
    source.point(server);
    Server other(world, quick(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}, true).refused.has_value());
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    const std::size_t held = server.cache.records.size();
    for (int i = 0; i < 200; ++i) {
        server.step();
    }
    EXPECT_EQ(server.cache.records.size(), held);  // Nothing is released: quarantine.
    EXPECT_GT(held, 0U);
    const vault::ChainState state = chain();
    EXPECT_EQ(state.newest.epoch, Epoch{2});
    EXPECT_EQ(state.points.size(), 1U);
    // The operator's word empties the quarantine.
    server.listener.strict = false;
    server.engine->post(DiscardQuarantineCommand{source.machine});
    EXPECT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::fenced));
}

TEST_F(Publish, ARestartedServerDoesNotTakeBackWhatAnotherOwns) {
    protect();
    source.write(server, source.disks[0]);
    for (int i = 0; i < 3; ++i) {
        server.step();
    }
    server.crash();
    Server other(world, quick(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}).refused.has_value());
    server.start();  // Recovers its cache: the chain is not ours any more.
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    EXPECT_EQ(chain().newest.epoch, Epoch{2});
    EXPECT_FALSE(server.cache.records.empty());
}

TEST_F(Publish, AnAgentThatComesDuringTheRecoveryOfALostMachineIsTakenIn) {
    protect();
    source.write(server, source.disks[0]);
    for (int i = 0; i < 3; ++i) {
        server.step();
    }
    server.crash();
    Server other(world, quick(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}).refused.has_value());
    server.listener.strict = false;
    server.start();
    server.engine->publisher().step(16);  // The recovery is being tried.
    ASSERT_EQ(server.engine->status().machines.size(), 1U);
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    EXPECT_EQ(chain().newest.epoch, Epoch{3});
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Publish, TheAgentsReturnEndsTheQuarantine) {
    protect();
    source.write(server, source.disks[0]);
    Server other(world, quick(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}).refused.has_value());
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(chain().newest.epoch, Epoch{3});
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// The backlog's limit is shared by all machines; what a fenced one left is not published, ever.
TEST_F(Publish, AQuarantinedMachineDoesNotStopTheOthers) {
    server.options.backlog_records = 8;
    protect();
    source.write(server, source.disks[0]);
    Server other(world, quick(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}).refused.has_value());
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    for (int i = 0; i < 20; ++i) {  // What was under way when it was fenced.
        source.write(server, source.disks[0]);
    }
    Source neighbour(world, {256 * kib});
    const auto welcomed = [this](Source& who) {
        server.listener.newest_number = 0;  // The listener knows one machine's numbers only.
        return !server.hello(who.machine, who.disks).refused.has_value();
    };
    const auto protect_neighbour = [&] {
        EXPECT_TRUE(welcomed(neighbour));
        neighbour.sync_all(server);
        const PointId point = neighbour.point(server);
        return server.run_until([&] { return server.listener.points.contains(point); });
    };
    ASSERT_TRUE(protect_neighbour());
    // A process that finds it in its cache counts alike.
    server.crash();
    server.listener.strict = false;
    server.start();
    for (SourceDisk& disk : neighbour.disks) {
        neighbour.write(server, disk);
    }
    EXPECT_TRUE(welcomed(neighbour));
    const PointId point = neighbour.point(server);
    ASSERT_TRUE(server.run_until([&] { return server.listener.points.contains(point); }));
    // The agent's return ends the quarantine: now the tail counts, and is published.
    ASSERT_TRUE(welcomed(source));
    const PointId last = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(last), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    EXPECT_EQ(check_points(world, neighbour, read_state(world, neighbour.machine)), 2U);
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
    EXPECT_EQ(told(first), std::nullopt);  // The agent has heard of a later manifest.
    EXPECT_EQ(told(second), PointState::committed);
    // Another process, or another server, knows what the chain knows.
    server.listener.newest_number = 0;
    server.crash();
    server.start();
    EXPECT_EQ(told(first), PointState::committed);
    EXPECT_EQ(told(second), PointState::committed);
}

TEST_F(Publish, D4ALateManifestIsRecognisedAsOurOwn) {
    protect();
    const std::uint64_t before = chain().newest.number;
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    // The segment is stored; the manifest's create times out and lands later.
    ASSERT_TRUE(server.run_until([this] {
        return server.engine->status().jobs_running == 0 &&
               world.vault->requests(fakes::BlobOp::put) > 0;
    }));
    world.vault->script(fakes::BlobOp::put, fakes::BlobFault::late, 2);
    ASSERT_TRUE(server.settle());
    world.vault->land_late();
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_FALSE(server.conditions->standing(Errc::fenced));
    EXPECT_GE(chain().newest.number, before + 1);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Publish, ASweptSegmentIsReplacedBeforeItIsTold) {
    protect();
    auto store = world.vault->factory()->make();
    ServerId gc;
    gc.bytes[0] = std::byte{9};
    const auto signer = vault::make_server_signer(*store, *world.kek, *world.random, gc);
    ASSERT_TRUE(signer.has_value());
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    // As soon as the segment lies there unnamed, garbage collection claims and removes it.
    const std::size_t objects = world.vault->names().size();
    std::optional<vault::SegmentName> swept;
    ASSERT_TRUE(server.run_until([&] {
        for (const blob::BlobName& name : world.vault->names()) {
            const auto parsed = name.container == blob::Container::data
                                    ? vault::parse_segment_blob(name)
                                    : Result<vault::SegmentName>(fail(Errc::blob_rejected));
            if (parsed && !chain().segments.contains(*parsed)) {
                swept = *parsed;
            }
        }
        return swept.has_value();
    }));
    EXPECT_GT(world.vault->names().size(), objects);
    ASSERT_TRUE(vault::write_gc_boundary(
                    *store, source.machine,
                    {.boundary = 0, .sweep_epoch = Epoch{1}, .sweep = {swept->attempt}}, *signer)
                    .has_value());
    ASSERT_TRUE(world.vault->erase(vault::segment_blob(*swept)));
    ASSERT_TRUE(server.run_until([&] { return chain().segments.contains(*swept); }));
    // The vault is away for a while: the publisher waits for the segment, and sleeps meanwhile. A
    // machine that is closed now finishes what it began.
    world.vault->set_rates({.unavailable = 1.0});
    server.engine->post(CloseCommand{source.machine});
    pipeline::Stage& publisher = server.engine->publisher();
    for (int i = 0; i < 400; ++i) {
        server.step();
        if (publisher.step(16) != pipeline::Progress::worked) {
            EXPECT_GT(publisher.next_deadline(), world.clock.boot());
        }
    }
    world.vault->set_rates({});
    ASSERT_TRUE(server.settle());
    ASSERT_TRUE(server.run_until(
        [this] { return server.engine->status().machines.front().mode == MachineMode::closed; }));
    EXPECT_EQ(state_of(point), PointState::committed);
    const vault::ChainState state = chain();
    EXPECT_FALSE(state.segments.contains(*swept));
    EXPECT_EQ(check_points(world, source, state), 2U);
}

TEST_F(Publish, AManifestBelowTheBoundaryMeansFenced) {
    protect();
    auto store = world.vault->factory()->make();
    ServerId gc;
    gc.bytes[0] = std::byte{9};
    const auto signer = vault::make_server_signer(*store, *world.kek, *world.random, gc);
    ASSERT_TRUE(vault::write_gc_boundary(*store, source.machine,
                                         {.boundary = 1000, .sweep_epoch = {}, .sweep = {}},
                                         *signer)
                    .has_value());
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    EXPECT_FALSE(server.listener.points.contains(point));
    EXPECT_FALSE(server.cache.records.empty());
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

TEST_F(Publish, AVaultOlderThanTheWitnessIsRefused) {
    protect();
    server.crash();
    const std::uint64_t number = chain().newest.number;
    ASSERT_TRUE(world.vault->erase(vault::manifest_blob(source.machine, number)));
    ASSERT_TRUE(world.vault->erase(vault::head_blob(source.machine)));
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_TRUE(answer.refused.has_value());
    EXPECT_EQ(answer.refused->code, Errc::vault_rolled_back);
}

TEST_F(Publish, ALostControlContainerIsNotTakenOver) {
    protect();
    server.crash();
    ASSERT_TRUE(world.vault->erase(vault::head_blob(source.machine)));
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_TRUE(answer.refused.has_value());
    EXPECT_EQ(answer.refused->code, Errc::control_lost);
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

TEST_F(Publish, CheckpointsComeInTime) {
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

TEST_F(Publish, AtTheMemoryLimitOfChainsPublishingWaitsForPruning) {
    EngineOptions options = quick();
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
    const vault::ChainState state = chain();
    PruneCommand all{.machine = source.machine,
                     .decided_at = state.newest.number,
                     .points = {whole},
                     .dropped = {},
                     .added = {}};
    for (const auto& [name, ref] : state.segments) {
        all.dropped.push_back(name);
    }
    small.engine->post(all);
    ASSERT_TRUE(small.run_until([&] { return small.listener.points.contains(held); }));
    EXPECT_EQ(small.listener.points.at(held).state, PointState::committed);
}

// A checkpoint's entries move into runs when they are many; a lost answer or a crash in between
// leaves orphans and nothing else.
TEST_F(Publish, CheckpointsStandOnRunsWhateverHappensToTheirRequests) {
    EngineOptions options = quick();
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
