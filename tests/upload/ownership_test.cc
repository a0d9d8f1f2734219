// Who may write a chain, and what becomes of those who may not.
#include "base/assert.h"
#include "egress/vault/control.h"
#include "tests/upload/publish_fixture.h"
#include "tests/vault/vault_rig.h"

namespace cw::upload::test {
namespace {

TEST_F(Publish, E1AZombieIsFencedAndLeavesOnlyOrphans) {
    protect();
    source.write(server, source.disks[0]);
    source.point(server);
    Server other(world, publish_options(), 2);
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

vault::HeadHint head_of(World& world, const MachineId& machine) {
    const auto store = world.vault->factory()->make();
    const auto head = vault::read_head(*store, world.identity, machine);
    CW_ASSERT(head && *head);
    return **head;
}

// The disks are idle: nothing would make the server write a manifest and meet the other one's.
TEST_F(Publish, E1AServerThatLostAMachineUnawaresDoesNotAnswerForIt) {
    protect();
    Server other(world, publish_options(), 2);
    other.options.ownership_check_ns = 2 * ns_per_s;
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    const vault::ChainState moved = chain();
    ASSERT_EQ(moved.newest.epoch, Epoch{2});
    // The agent comes back, and has seen the other one's claim.
    server.listener.newest_number = moved.newest.number;
    server.listener.newest_hash = moved.hash;
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    EXPECT_GT(answer.manifest_number, moved.newest.number);
    EXPECT_EQ(chain().newest.epoch, Epoch{3});
    EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::continue_);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::same_as);
    ASSERT_TRUE(other.run_until([&] { return other.listener.fencings > 0; }));
    EXPECT_EQ(head_of(world, source.machine).epoch, Epoch{3});
}

TEST_F(Publish, E1WhatWasUnderWayWhenAServerIsFoundBehindIsPublishedInTheNewEpoch) {
    protect();
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    const vault::ChainState moved = chain();
    server.listener.newest_number = moved.newest.number;
    server.listener.newest_hash = moved.hash;
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    for (int i = 0; i < 3; ++i) {
        server.step();
    }
    server.listener.strict = false;
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(server.listener.fencings, 0U);  // The session that said HELLO is not ended.
    EXPECT_EQ(chain().newest.epoch, Epoch{3});
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Publish, E1AHelloThatKnowsNothingNewMakesTheServerLookForItsSuccessor) {
    protect();
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    ASSERT_TRUE(server.run_until([this] { return server.listener.fencings > 0; }, 1000));
    EXPECT_TRUE(server.conditions->standing(Errc::fenced));
}

TEST_F(Publish, E1AnIdleServerFindsOutThatItsMachineIsGone) {
    server.options.ownership_check_ns = 2 * ns_per_s;
    protect();
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    ASSERT_TRUE(server.run_until(
        [this] { return server.engine->status().machines.front().mode == MachineMode::fenced; }));
    EXPECT_EQ(server.listener.fencings, 1U);
}

// The other server's note stays although this one still had a number of its own to note.
TEST_F(Publish, E1AHeadNoteNeverGoesBackwards) {
    protect();
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(server.settle());
    ASSERT_LT(head_of(world, source.machine).number, chain().newest.number);
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    ASSERT_EQ(head_of(world, source.machine).number, chain().newest.number);
    // Whether it still believes to know what is there, or has looked again.
    for (int i = 0; i < 300; ++i) {
        if (i % 100 == 0) {
            world.clock.advance(20 * ns_per_s);
        }
        server.step();
    }
    const vault::HeadHint head = head_of(world, source.machine);
    EXPECT_EQ(head.number, chain().newest.number);
    EXPECT_EQ(head.epoch, Epoch{2});
}

TEST_F(Publish, TheOwnerIsFoundFromTheChainNotFromItsNote) {
    protect();
    const auto store = world.vault->factory()->make();
    const auto before = head_of(world, source.machine);
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks).refused.has_value());
    const ServerId owner = head_of(world, source.machine).server;
    EXPECT_NE(owner, before.server);
    // As if the note of the claim had been lost, then every note.
    const auto signer = vault::make_server_signer(*store, *world.kek, *world.random, before.server);
    ASSERT_TRUE(signer.has_value());
    for (const bool noted : {true, false}) {
        ASSERT_TRUE(world.vault->erase(vault::head_blob(source.machine)));
        if (noted) {
            ASSERT_TRUE(vault::advance_head(*store, world.identity, source.machine, before, *signer)
                            .has_value());
        }
        const auto newest = vault::newest_header(*store, world.identity, source.machine);
        ASSERT_TRUE(newest && *newest);
        EXPECT_EQ((*newest)->certificate.server, owner);
        EXPECT_EQ((*newest)->number, chain().newest.number);
        EXPECT_EQ((*newest)->epoch, Epoch{2});
    }
    EXPECT_FALSE(*vault::newest_header(*store, world.identity, MachineId{}));
}

TEST_F(Publish, ARestartedServerDoesNotTakeBackWhatAnotherOwns) {
    protect();
    source.write(server, source.disks[0]);
    for (int i = 0; i < 3; ++i) {
        server.step();
    }
    server.crash();
    Server other(world, publish_options(), 2);
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
    Server other(world, publish_options(), 2);
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
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}).refused.has_value());
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    EXPECT_EQ(chain().newest.epoch, Epoch{3});
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    EXPECT_FALSE(server.conditions->standing(Errc::fenced));
}

// The backlog's limit is shared by all machines; what a fenced one left is not published, ever.
TEST_F(Publish, AQuarantinedMachineDoesNotStopTheOthers) {
    server.options.backlog_records = 8;
    protect();
    source.write(server, source.disks[0]);
    Server other(world, publish_options(), 2);
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
    fakes::put_gc_boundary(*store, source.machine,
                           {.boundary = 0, .sweep_epoch = Epoch{1}, .sweep = {swept->attempt}},
                           *signer);
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
    fakes::put_gc_boundary(*store, source.machine,
                           {.boundary = 1000, .sweep_epoch = {}, .sweep = {}}, *signer);
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    EXPECT_FALSE(server.listener.points.contains(point));
    EXPECT_FALSE(server.cache.records.empty());
}

TEST_F(Publish, F4_AVaultOlderThanTheWitnessIsRefused) {
    protect();
    server.crash();
    const std::uint64_t number = chain().newest.number;
    const auto before = world.vault->copy();
    ASSERT_TRUE(world.vault->erase(vault::manifest_blob(source.machine, number)));
    ASSERT_TRUE(world.vault->erase(vault::head_blob(source.machine)));
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_TRUE(answer.refused.has_value());
    EXPECT_EQ(answer.refused->code, Errc::vault_rolled_back);
    EXPECT_TRUE(server.conditions->standing(Errc::vault_rolled_back));
    world.vault->put_back(before, blob::Container::manifest);
    world.vault->put_back(before, blob::Container::control);
    EXPECT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    EXPECT_FALSE(server.conditions->standing(Errc::vault_rolled_back));
}

// An adversary, or a slip, took them: new ones would open nothing that is there.
TEST_F(Publish, AMachineWhoseKeysAreGoneIsRefusedAndGivenNoOthers) {
    protect();
    server.crash();
    const blob::BlobName keys = vault::machine_keys_blob(source.machine);
    const auto before = world.vault->copy();
    ASSERT_TRUE(world.vault->erase(keys));
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_TRUE(answer.refused.has_value());
    EXPECT_EQ(answer.refused->code, Errc::key_unavailable);
    EXPECT_FALSE(world.vault->bytes(keys));
    EXPECT_TRUE(server.conditions->standing(Errc::key_unavailable));
    world.vault->put_back(before, keys.container);
    EXPECT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    EXPECT_FALSE(server.conditions->standing(Errc::key_unavailable));
}

TEST_F(Publish, F4_AMachineOfWhichOnlyAWitnessIsLeftIsRefusedAndGivenNoKeys) {
    protect();
    server.crash();
    for (const blob::BlobName& name : world.vault->names()) {
        if (name != vault::vault_keys_blob()) {
            ASSERT_TRUE(world.vault->erase(name));
        }
    }
    server.start();
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_TRUE(answer.refused.has_value());
    EXPECT_EQ(answer.refused->code, Errc::vault_rolled_back);
    EXPECT_FALSE(world.vault->bytes(vault::machine_keys_blob(source.machine)));
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
}  // namespace
}  // namespace cw::upload::test
