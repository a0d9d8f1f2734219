// Sealing, memory and draining. (Damage: cache_damage_test.cc.)
#include "tests/upload/assembly_fixture.h"

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

using pipeline::PointState;

TEST_F(Assembly, TheDeadlineSealsWhatNoBarrierDoes) {
    protect();
    const std::size_t before = segments();
    const Nanos start = world.clock.boot();
    source.write(server, source.disks[0]);
    while (world.clock.boot() - start < 450 * ns_per_ms) {
        server.step();
    }
    EXPECT_EQ(segments(), before);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(segments(), before + 1);
    EXPECT_LT(world.clock.boot() - start, 700 * ns_per_ms);
}

TEST_F(Assembly, WritesBetweenBarriersShareASegmentAndOverwrittenBytesStayHere) {
    protect();
    const std::size_t before = segments();
    for (int i = 0; i < 8; ++i) {
        source.write(server, source.disks[0]);
    }
    source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(segments(), before + 1);
    ASSERT_TRUE(server.run_until(
        [this] { return server.engine->status().machines.front().coalesced_bytes > 0; }));
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, C10_AnOutageCostsDiskNotMemory) {
    protect();
    // The store refuses everything for a while, and no memory is left for sealed segments; writes
    // go on.
    world.vault->set_rates({.unavailable = 1.0});
    std::vector<pipeline::Slab> taken;
    while (pipeline::Slab slab = server.segment->try_take()) {
        taken.push_back(std::move(slab));
    }
    for (int i = 0; i < 60; ++i) {
        source.write(server, source.disks[0]);
        server.step();
        EXPECT_GT(server.ingest->free_count(), 0U);
    }
    source.point(server);
    for (int i = 0; i < 100; ++i) {
        server.step();
    }
    EXPECT_GE(server.ingest->free_count(), server.options.ingest_slabs_low);
    const std::size_t reads = server.cache.read_count;
    taken.clear();
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::blob_unavailable); }));
    world.vault->set_rates({});
    ASSERT_TRUE(server.settle());
    EXPECT_GT(server.cache.read_count, reads);  // Dropped payload came back from the cache.
    EXPECT_EQ(check_points(world, source, chain()), 2U);
    EXPECT_EQ(server.readback->free_count(), server.readback->count());
    EXPECT_EQ(server.segment->free_count(), server.segment->count());
    EXPECT_EQ(server.ingest->free_count(), server.ingest->count());
}

TEST_F(Assembly, D6_WhatChangesInMemoryBetweenVerifyAndStoreIsBuiltAgain) {
    protect();
    // The pool gives first what came home last: here the next body begins.
    std::byte* const body = server.segment->try_take().data();
    world.vault->set_rates({.unavailable = 1.0});
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::blob_unavailable); }));
    *body ^= std::byte{1};
    world.vault->set_rates({});
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::blob_checksum); }));
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::blob_checksum));
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

// The store answers with the right checksum and keeps other bytes.
TEST_F(Assembly, D6WhatTheStoreKeptWronglyIsReadBackAndStoredAgainBeforeItIsNamed) {
    server.options.read_back_every = 1;
    protect();
    std::set<blob::BlobName> known;
    const auto data_objects = [&] {
        std::set<blob::BlobName> out;
        for (const blob::BlobName& name : world.vault->names()) {
            if (name.container == blob::Container::data) {
                out.insert(name);
            }
        }
        return out;
    };
    known = data_objects();
    source.write(server, source.disks[0]);
    source.point(server);
    std::optional<blob::BlobName> spoilt;
    ASSERT_TRUE(server.run_until([&] {
        for (const blob::BlobName& name : data_objects()) {
            if (!spoilt && !known.contains(name)) {
                EXPECT_TRUE(world.vault->flip_bit(name, 77));
                spoilt = name;
            }
        }
        return server.conditions->standing(Errc::object_corrupt);
    }));
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::object_corrupt));
    const vault::ChainState state = chain();
    for (const auto& [name, segment] : state.segments) {
        EXPECT_NE(vault::segment_blob(name), *spoilt);
    }
    EXPECT_EQ(check_points(world, source, state), 2U);
}

TEST_F(Assembly, AReadBackThatCannotBeMadeHoldsNothingUp) {
    server.options.read_back_every = 1;
    protect();
    world.vault->script(fakes::BlobOp::get, fakes::BlobFault::unavailable, 3);
    source.write(server, source.disks[0]);
    source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, TheBacklogIsBounded) {
    server.options.backlog_records = 10;
    protect();
    world.vault->set_rates({.unavailable = 1.0});
    for (int i = 0; i < 40; ++i) {
        source.write(server, source.disks[0]);
        server.step();
    }
    for (int i = 0; i < 400; ++i) {
        server.step();
    }
    EXPECT_LE(server.engine->status().backlog_records, 10U);
    EXPECT_FALSE(server.engine->stored().empty());
    world.vault->set_rates({});
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
}

// The site that sent them may be the disaster: nobody says HELLO.
TEST_F(Assembly, MoreThanTheBacklogIsRecoveredFromTheCacheWithoutAnAgent) {
    server.options.backlog_records = 4;
    server.options.stored_ring = 4;
    protect();
    world.vault->set_rates({.unavailable = 1.0});
    for (int i = 0; i < 40; ++i) {
        source.write(server, source.disks[0]);
        server.step();
    }
    source.point(server);
    server.crash();
    world.vault->set_rates({});
    ASSERT_GT(server.cache.records.size(), 40U);
    server.start();
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, AFlushCommitsWithoutABarrier) {
    protect();
    const Nanos start = world.clock.boot();
    source.write(server, source.disks[0]);
    server.step();
    server.engine->post(FlushCommand{source.machine});
    ASSERT_TRUE(server.settle());
    EXPECT_LT(world.clock.boot() - start, 300 * ns_per_ms);
}

TEST_F(Assembly, ADrainCommitsEverythingTaken) {
    protect();
    source.write(server, source.disks[0]);
    server.step();
    server.engine->drain(true);
    ASSERT_TRUE(server.run_until([this] { return server.engine->drained(); }));
    EXPECT_TRUE(server.cache.records.empty());
}

TEST_F(Assembly, G19ADrainThatKeepsTheRestLosesNothing) {
    protect();
    for (int i = 0; i < 10; ++i) {
        source.write(server, source.disks[0]);
        server.step();
    }
    const PointId point = source.point(server);
    server.step();
    server.engine->drain(false);
    ASSERT_TRUE(server.run_until([this] { return server.engine->drained(); }));
    server.crash();
    server.listener.strict = false;
    server.start();
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, AClosedMachineIsTakenUpAgainWithWhatWasLeft) {
    protect();
    source.write(server, source.disks[0]);
    server.step();
    server.engine->post(CloseCommand{source.machine});
    ASSERT_TRUE(server.run_until([this] {
        const auto machines = server.engine->status().machines;
        return !machines.empty() && machines.front().mode == MachineMode::closed;
    }));
    source.write(server, source.disks[0]);
    for (int i = 0; i < 50; ++i) {
        server.step();
    }
    EXPECT_FALSE(server.cache.records.empty());
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    const PointId point = source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(server.listener.points.at(point).state, PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 2U);
}

TEST_F(Assembly, AFullSinkStopsPublishingAndLosesNothing) {
    protect();
    server.listener.full = true;
    std::vector<PointId> points;
    for (int i = 0; i < 5; ++i) {
        source.write(server, source.disks[0]);
        points.push_back(source.point(server));
        for (int step = 0; step < 30; ++step) {
            server.step();
        }
    }
    EXPECT_LE(chain().points.size(), 2U);  // One manifest may be ahead of what was told.
    server.listener.full = false;
    ASSERT_TRUE(server.settle());
    for (const PointId& id : points) {
        EXPECT_EQ(server.listener.points.at(id).state, PointState::committed);
    }
}

TEST_F(Assembly, StatusTellsBacklogPointsAndRpo) {
    protect();
    world.clock.advance(10 * ns_per_s);
    ASSERT_TRUE(server.run_until([this] {
        const EngineStatus status = server.engine->status();
        return !status.machines.empty() && status.machines.front().rpo_seconds.value_or(0) > 9;
    }));
    const EngineStatus status = server.engine->status();
    const MachineStatus& machine = status.machines.front();
    EXPECT_EQ(machine.mode, MachineMode::active);
    EXPECT_EQ(machine.points, 1U);
    EXPECT_EQ(machine.backlog_bytes, 0U);
    ASSERT_EQ(machine.disks.size(), 1U);
    EXPECT_TRUE(machine.disks[0].protected_);
    EXPECT_EQ(raw(machine.disks[0].committed) + 1, raw(source.disks[0].next));
    const std::string metrics = server.metrics->render();
    for (const char* const name : {"causeway_rpo_seconds", "causeway_rpo_stage_seconds",
                                   "causeway_points_total", "causeway_uploaded_bytes_total",
                                   "causeway_upload_lanes", "causeway_coalesced_bytes_total"}) {
        EXPECT_NE(metrics.find(name), std::string::npos) << name;
    }
}

TEST_F(Assembly, NobodyIsWokenForAStatusThatDoesNotChange) {
    protect();
    ASSERT_TRUE(server.settle());
    pipeline::Stage& assembly = server.engine->assembly();
    world.clock.advance(10 * ns_per_s);
    while (assembly.step(16) == pipeline::Progress::worked) {
    }
    EXPECT_GT(assembly.next_deadline() - world.clock.boot(), ns_per_s);
    // What it works on is shown soon, all the same.
    const Nanos start = world.clock.boot();
    source.write(server, source.disks[0]);
    ASSERT_TRUE(server.run_until(
        [this] { return server.engine->status().machines.front().backlog_bytes > 0; }));
    EXPECT_LT(world.clock.boot() - start, 500 * ns_per_ms);
}

}  // namespace
}  // namespace cw::upload::test
