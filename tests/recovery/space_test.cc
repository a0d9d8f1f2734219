// Pruning, dropping and rewriting never change what a retained point holds.
#include "recovery/space.h"

#include "recovery/compact.h"
#include "recovery/gc.h"
#include "tests/recovery/world.h"

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

class Upkeep {
public:
    explicit Upkeep(std::uint64_t seed) : world_(seed, 384 * kib), dice_(make_seeded_random(seed)) {
        options_.gather_min = 3;
        options_.small_bytes = 64 * kib;
        options_.stretch_segments_max = 24;
        options_.segments_max = 4096;
        options_.rewrite_bytes = 256 * kib;
    }

    void grow() {
        for (int i = 0; i < 12; ++i) {
            world_.model.step();
            if (dice_->below(2) == 0) {
                world_.model.publish_point();
            }
        }
        newest_ = world_.model.publish_point();
    }
    // Prunes about two of three points and does what the plan says, in one manifest.
    void tidy() {
        vault::Manifest manifest;
        draft_tidying(manifest);
        world_.rig.publish(manifest);
    }
    // What is to be written again is stored, and named by nobody yet.
    void draft_tidying(vault::Manifest& manifest) {
        const Catalog catalog = world_.catalog();
        manifest = world_.rig.next();
        for (const auto& [id, point] : catalog.state().points) {
            if (id != newest_ && dice_->below(3) != 0) {
                manifest.pruned.push_back(id);
            }
        }
        const std::set<PointId> gone(manifest.pruned.begin(), manifest.pruned.end());
        Fetcher fetcher(*world_.store, 4);
        const auto plan = plan_space(fetcher, catalog, gone, memory_, options_);
        ASSERT_TRUE(plan) << to_string(plan.error());
        manifest.dropped = plan->dead;
        dead_ += plan->dead.size();
        for (const Rewrite& rewrite : plan->rewrites) {
            const auto ref = compact(*world_.store, fetcher, catalog, rewrite, *dice_);
            ASSERT_TRUE(ref) << to_string(ref.error());
            manifest.added.push_back(*ref);
            for (const vault::SegmentRef* from : rewrite.from) {
                manifest.dropped.push_back(from->name);
            }
            ++rewritten_;
        }
    }
    void collect() {
        GcMemory memory;
        GcOptions options;
        options.dry_run = false;
        options.grace_us = 0;
        for (const std::int64_t now : {1000, 2000}) {
            const auto report =
                collect_garbage(*world_.store, *world_.kek, world_.machine, world_.rig.signer,
                                memory, options, WallMicros{now});
            ASSERT_TRUE(report) << to_string(report.error());
        }
    }
    void expect_points_as_they_were() {
        const Catalog catalog = world_.catalog();
        for (const auto* point : catalog.points()) {
            const auto reader = world_.reader(catalog, point->id);
            ASSERT_TRUE(reader) << to_string(reader.error());
            ByteVector seen((*reader)->size_bytes());
            ASSERT_TRUE((*reader)->read(0, seen));
            ASSERT_TRUE(seen == world_.model.truth().at(point->id));
        }
    }
    // Every segment in the store is named by the chain.
    void expect_nothing_leaked() {
        std::size_t stored = 0;
        for (const blob::BlobName& name : world_.memory.names()) {
            stored += name.container == blob::Container::data ? 1 : 0;
        }
        EXPECT_EQ(stored, world_.rig.state.segments.size() + world_.rig.state.runs.size());
    }
    [[nodiscard]] std::size_t dead() const { return dead_; }
    [[nodiscard]] std::size_t rewritten() const { return rewritten_; }
    World& world() { return world_; }
    SpaceMemory& memory() { return memory_; }
    const SpaceOptions& options() const { return options_; }

private:
    World world_;
    std::unique_ptr<Random> dice_;
    SpaceMemory memory_;
    SpaceOptions options_;
    PointId newest_;
    std::size_t dead_ = 0, rewritten_ = 0;
};

// The writer sleeps between the upkeep's work and the manifest that names it, for longer than the
// collector waits, and dies before it reads the note: it has told nobody of that manifest.
TEST(Space, G2PointsStayReadableWhenTheirNewSegmentsWereCollectedBeforeTheyWereNamed) {
    std::size_t rewritten = 0;
    for (std::uint64_t seed = 1; seed <= 6 && !testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Upkeep upkeep(seed);
        vault::ChainState told;
        vault::Manifest manifest;
        for (int round = 0; round < 6 && manifest.added.empty(); ++round) {
            if (round > 0) {
                upkeep.world().rig.publish(manifest);
            }
            upkeep.grow();
            told = upkeep.world().rig.state;
            upkeep.draft_tidying(manifest);
        }
        upkeep.collect();  // Everything that was stored for the manifest goes.
        upkeep.world().rig.publish(manifest);
        for (int round = 0; round < 2; ++round) {  // Nobody opens the machine for a long time.
            EXPECT_EQ(upkeep.world().catalog().points().size(), told.points.size());
            upkeep.expect_points_as_they_were();
            upkeep.collect();
        }
        for (const auto& [name, ref] : told.segments) {
            EXPECT_TRUE(upkeep.world().memory.bytes(segment_blob(name)).has_value());
        }
        rewritten += manifest.added.size();
    }
    EXPECT_GE(rewritten, 6U);
}

// What is gone and was told of is damage: nobody goes back behind it.
TEST(Space, WhatWasToldOfIsNotTakenForUntold) {
    Upkeep upkeep(1);
    upkeep.grow();
    World& world = upkeep.world();
    const vault::ChainState told = world.rig.state;
    const vault::SegmentName lost = told.segments.rbegin()->first;
    ASSERT_TRUE(world.memory.erase(segment_blob(lost)));
    world.rig.publish(world.rig.next());
    fakes::put_gc_boundary(*world.store, world.machine,
                           {.boundary = 0, .sweep_epoch = Epoch{1}, .sweep = {lost.attempt}},
                           world.rig.signer);
    const Catalog catalog = world.catalog();
    EXPECT_EQ(catalog.state().newest.number, world.rig.state.newest.number);
    EXPECT_TRUE(catalog.state().segments.contains(lost));
    EXPECT_TRUE(catalog.untold().empty());
}

TEST(Space, RetainedPointsStayWhatTheyWereAndNothingElseStays) {
    std::size_t dead = 0, rewritten = 0;
    for (std::uint64_t seed = 1; seed <= 12 && !testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Upkeep upkeep(seed);
        for (int round = 0; round < 4 && !testing::Test::HasFailure(); ++round) {
            upkeep.grow();
            upkeep.tidy();
            upkeep.expect_points_as_they_were();
            upkeep.collect();
            upkeep.expect_points_as_they_were();
            upkeep.expect_nothing_leaked();
        }
        dead += upkeep.dead();
        rewritten += upkeep.rewritten();
    }
    EXPECT_GT(dead, 20U);
    EXPECT_GT(rewritten, 20U);
}

TEST(Space, WhatWasJudgedIsNotReadAgainUntilItChanges) {
    Upkeep upkeep(5);
    upkeep.grow();
    upkeep.tidy();
    const Catalog catalog = upkeep.world().catalog();
    SpaceMemory memory;
    for (int i = 0; i < 2; ++i) {
        Fetcher fetcher(*upkeep.world().store, 4);
        SpaceOptions never = upkeep.options();
        never.gather_min = 1000;
        never.small_bytes = 1 * gib;
        const auto plan = plan_space(fetcher, catalog, {}, memory, never);
        ASSERT_TRUE(plan);
        if (i == 1) {
            EXPECT_EQ(plan->stretches_read, 0U);
            EXPECT_EQ(fetcher.requests(), 0U);
        }
    }
}

TEST(Space, F6NothingIsDroppedWhenAnIndexCannotBeRead) {
    Upkeep upkeep(7);
    upkeep.grow();
    const Catalog catalog = upkeep.world().catalog();
    std::set<PointId> all;
    for (const auto* point : catalog.points()) {
        all.insert(point->id);
    }
    all.erase(catalog.points().back()->id);
    upkeep.world().memory.script(fakes::BlobOp::get, fakes::BlobFault::unavailable, 1000);
    Fetcher fetcher(*upkeep.world().store, 4);
    const auto plan = plan_space(fetcher, catalog, all, upkeep.memory(), upkeep.options());
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, Errc::blob_unavailable);
}

TEST(Space, RewritingStopsAtADamagedChunk) {
    Upkeep upkeep(9);
    upkeep.grow();
    World& world = upkeep.world();
    const Catalog catalog = world.catalog();
    Fetcher fetcher(*world.store, 4);
    std::set<PointId> all;
    for (const auto* point : catalog.points()) {
        all.insert(point->id);
    }
    all.erase(catalog.points().back()->id);
    const auto plan = plan_space(fetcher, catalog, all, upkeep.memory(), upkeep.options());
    ASSERT_TRUE(plan);
    ASSERT_FALSE(plan->rewrites.empty());
    for (const Rewrite& rewrite : plan->rewrites) {
        for (const vault::SegmentRef* ref : rewrite.from) {  // A bit of each sealed chunk's area.
            for (std::uint64_t at = vault::segment_header_bytes; at < ref->index_offset; at += 64) {
                world.memory.flip_bit(segment_blob(ref->name), at * 8);
            }
        }
        if (rewrite.alive_bytes > 0) {
            const auto ref = compact(*world.store, fetcher, catalog, rewrite, *world.random);
            ASSERT_FALSE(ref);
            EXPECT_EQ(ref.error().code, Errc::object_corrupt);
        }
    }
}

}  // namespace
}  // namespace cw::recovery
