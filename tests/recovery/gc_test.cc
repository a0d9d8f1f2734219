#include "recovery/gc.h"

#include "egress/vault/control.h"
#include "egress/vault/index_run.h"
#include "tests/fakes/meanwhile_store.h"
#include "tests/recovery/world.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class Gc : public testing::Test {
protected:
    Gc() {
        for (int i = 0; i < 20; ++i) {
            world_.model.step();
        }
        point_ = world_.model.publish_point();
    }
    // A segment that was uploaded and never named.
    vault::SegmentRef orphan() {
        return world_.rig.put(
            {world_.disk,
             world_.rig.disk(world_.disk).generation,
             Seq{9000},
             Seq{9001},
             false,
             {{0, fakes::text_bytes(1, 4096), Seq{9000}, vault::Codec::none, 0}}});
    }
    Result<GcReport> collect(std::int64_t at_us, bool dry_run = false) {
        GcOptions options;
        options.dry_run = dry_run;
        return collect_garbage(*world_.store, *world_.kek, world_.machine, world_.rig.signer,
                               memory_, options, WallMicros{at_us});
    }
    bool present(const vault::SegmentRef& ref) {
        return world_.memory.bytes(segment_blob(ref.name)).has_value();
    }
    void expect_all_points_readable() {
        const Catalog catalog = world_.catalog();
        for (const auto* point : catalog.points()) {
            const auto reader = world_.reader(catalog, point->id);
            ASSERT_TRUE(reader) << to_string(reader.error());
            ByteVector seen((*reader)->size_bytes());
            ASSERT_TRUE((*reader)->read(0, seen));
            EXPECT_EQ(seen, world_.model.truth().at(point->id));
        }
    }

    static constexpr std::int64_t grace = GcOptions{}.grace_us;
    World world_{3};
    GcMemory memory_;
    PointId point_;
};

TEST_F(Gc, DeletesWhatStayedUnnamedForTheGraceTimeAndNothingElse) {
    const auto lost = orphan();
    ASSERT_TRUE(collect(1000));
    EXPECT_TRUE(present(lost));
    ASSERT_TRUE(collect(1000 + grace - 1));
    EXPECT_TRUE(present(lost));
    const auto report = collect(1000 + grace);
    ASSERT_TRUE(report);
    EXPECT_FALSE(present(lost));
    EXPECT_EQ(report->deleted_segments, 1U);
    EXPECT_EQ(report->live_segments, world_.rig.state.segments.size());
    expect_all_points_readable();
}

TEST_F(Gc, DryRunDeletesNothing) {
    const auto lost = orphan();
    ASSERT_TRUE(collect(0, true));
    const auto report = collect(grace, true);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->deleted_segments, 1U);
    EXPECT_TRUE(present(lost));
}

TEST_F(Gc, AnnouncesTheSweepBeforeItDeletes) {
    const auto lost = orphan();
    ASSERT_TRUE(collect(0));
    world_.memory.script(BlobOp::remove, BlobFault::unavailable, 1000);
    EXPECT_EQ(collect(grace).error().code, Errc::blob_unavailable);
    EXPECT_TRUE(present(lost));
    const auto note = read_gc_boundary(*world_.store, world_.rig.vault, world_.machine);
    ASSERT_TRUE(note && *note);
    EXPECT_EQ((*note)->sweep, std::vector{lost.name.attempt});
    EXPECT_EQ((*note)->sweep_epoch, world_.rig.state.newest.epoch);
}

TEST_F(Gc, E5_ASegmentThatIsNamedMeanwhileIsRescued) {
    const auto late = orphan();
    ASSERT_TRUE(collect(0));
    vault::Manifest manifest = world_.rig.next();
    manifest.added.push_back(late);
    world_.rig.publish(manifest);
    const auto report = collect(grace);
    ASSERT_TRUE(report);
    EXPECT_TRUE(present(late));
    EXPECT_TRUE(memory_.unnamed_since.empty());
}

// Another collector, or a put of our own that was thought lost, comes between the look at the note
// and its change.
TEST_F(Gc, E5_WhatAnotherAnnouncesMeanwhileIsKept) {
    const blob::BlobName note = vault::gc_boundary_blob(world_.machine);
    for (const bool there : {false, true}) {
        const auto mine = orphan();
        ASSERT_TRUE(collect(0));
        if (!there) {
            ASSERT_TRUE(world_.memory.erase(note));
        }
        vault::GcBoundary theirs{
            .boundary = 1, .sweep_epoch = world_.rig.state.newest.epoch, .sweep = {}};
        world_.random->fill(theirs.sweep.emplace_back());
        unsigned looks = 0;  // The catalog looks, too.
        fakes::MeanwhileStore store(*world_.store, [&](const blob::BlobName& looked_at) {
            if (looked_at == note && ++looks <= 3) {
                const ByteVector bytes =
                    encode_gc_boundary(theirs, world_.machine, world_.rig.signer);
                const auto put = blob::put_and_wait(
                    *world_.store,
                    {.name = note, .body = {bytes}, .condition = blob::PutCondition::none});
                EXPECT_EQ(put.outcome, blob::PutOutcome::stored);
            }
        });
        ASSERT_EQ(world_.memory.bytes(note).has_value(), there);
        const auto report = collect_garbage(store, *world_.kek, world_.machine, world_.rig.signer,
                                            memory_, {.dry_run = false}, WallMicros{grace});
        ASSERT_TRUE(report) << to_string(report.error());
        EXPECT_GE(looks, 3U);
        EXPECT_FALSE(present(mine));
        const auto announced = read_gc_boundary(*world_.store, world_.rig.vault, world_.machine);
        ASSERT_TRUE(announced && *announced);
        EXPECT_EQ(std::ranges::count((*announced)->sweep, theirs.sweep[0]), 1);
    }
}

TEST_F(Gc, D16_StopsAtAListThatFails) {
    const auto lost = orphan();
    ASSERT_TRUE(collect(0));
    world_.memory.script(BlobOp::list, BlobFault::unavailable, 1000);
    EXPECT_EQ(collect(grace).error().code, Errc::blob_unavailable);
    EXPECT_TRUE(present(lost));
}

TEST_F(Gc, LeavesLockedObjectsForLater) {
    world_.memory.set_worm(blob::Container::data, 1000 * ns_per_s);
    const auto lost = orphan();
    ASSERT_TRUE(collect(0));
    const auto report = collect(grace);
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_EQ(report->immutable, 1U);
    EXPECT_TRUE(present(lost));
}

TEST_F(Gc, D13LeavesWhatSomebodyLeasedForLater) {
    const auto lost = orphan();
    ASSERT_TRUE(world_.memory.lease(segment_blob(lost.name), Nanos{INT64_MAX}));
    ASSERT_TRUE(collect(0));
    const auto report = collect(grace);
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_EQ(report->immutable, 1U);
    EXPECT_TRUE(present(lost));
    world_.memory.end_leases();
    ASSERT_TRUE(collect(grace));
    EXPECT_FALSE(present(lost));
}

TEST_F(Gc, E5_DeletesManifestsBelowThePublishedBoundaryOnly) {
    world_.rig.publish(make_checkpoint(world_.rig.state));
    vault::Manifest bounded = world_.rig.next();
    bounded.boundary = bounded.checkpoint;
    world_.rig.publish(bounded);
    const auto report = collect(0);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->deleted_manifests, bounded.boundary - 2);
    EXPECT_TRUE(world_.memory.bytes(vault::manifest_blob(world_.machine, 1)));
    EXPECT_TRUE(world_.memory.bytes(vault::manifest_blob(world_.machine, bounded.boundary)));
    expect_all_points_readable();
}

TEST_F(Gc, D14ALockedObjectGoesWhenItsLockHasEnded) {
    world_.memory.set_worm(blob::Container::data, 1000 * ns_per_s);
    const auto lost = orphan();
    ASSERT_TRUE(collect(0));
    ASSERT_TRUE(collect(grace));
    EXPECT_TRUE(present(lost));
    world_.clock.advance(1001 * ns_per_s);
    const auto report = collect(grace + 1);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->deleted_segments, 1U);
    EXPECT_FALSE(present(lost));
}

TEST_F(Gc, WhatWasAnnouncedInAnEpochStaysAnnounced) {
    const auto first = orphan();
    ASSERT_TRUE(collect(0));
    world_.memory.script(BlobOp::remove, BlobFault::unavailable, 1);
    EXPECT_EQ(collect(grace).error().code, Errc::blob_unavailable);  // It stopped half-way.
    // Another one, which has not seen `first` for long enough, sweeps something else.
    GcMemory other;
    const auto second = orphan();
    other.unnamed_since[second.name] = WallMicros{0};
    GcOptions options;
    options.dry_run = false;
    world_.memory.script(BlobOp::remove, BlobFault::unavailable, 1);
    EXPECT_FALSE(collect_garbage(*world_.store, *world_.kek, world_.machine, world_.rig.signer,
                                 other, options, WallMicros{grace}));
    const auto note = read_gc_boundary(*world_.store, world_.rig.vault, world_.machine);
    ASSERT_TRUE(note && *note);
    EXPECT_EQ(std::set(((*note)->sweep).begin(), (*note)->sweep.end()),
              (std::set{first.name.attempt, second.name.attempt}));
    ASSERT_TRUE(collect(grace));
    ASSERT_TRUE(collect(grace));
    EXPECT_FALSE(present(first));
    // A writer that has slept all the time may name `first` only now.
    const auto after = read_gc_boundary(*world_.store, world_.rig.vault, world_.machine);
    ASSERT_TRUE(after && *after);
    EXPECT_EQ((*after)->sweep, (std::vector{second.name.attempt, first.name.attempt}));
}

TEST_F(Gc, RemembersAcrossRuns) {
    const auto lost = orphan();
    ASSERT_TRUE(collect(77));
    const GcMemory again = parse_gc_memory("garbage\n" + to_text(memory_) + "x y\n\n");
    EXPECT_EQ(again.unnamed_since, memory_.unnamed_since);
    EXPECT_EQ(again.unnamed_since.at(lost.name), WallMicros{77});
}

// A run that is stored before its checkpoint must not be taken for garbage; one that the newest
// checkpoint has left behind must.
TEST_F(Gc, IndexRunsGoOnlyWhenTheyCanNeverBeNamedAgain) {
    const auto store_run = [this](std::uint32_t id) {
        vault::IndexRun run;
        run.segments.push_back(world_.rig.state.segments.begin()->second);
        vault::IndexRunRef ref;
        ref.id = id;
        ref.epoch = world_.rig.state.newest.epoch;
        const vault::SealedRun sealed =
            vault::seal_index_run(run, ref, world_.rig.keys, *world_.random);
        const auto name = segment_blob(vault::index_run_name(world_.machine, sealed.ref));
        world_.rig.store_object(name, sealed.bytes);
        return name;
    };
    vault::Manifest checkpoint = make_checkpoint(world_.rig.state);
    checkpoint.run_counter = 3;
    world_.rig.publish(checkpoint);
    const auto left_behind = store_run(3), pending = store_run(4);
    ASSERT_TRUE(collect(0));
    const auto report = collect(grace);
    ASSERT_TRUE(report);
    EXPECT_FALSE(world_.memory.bytes(left_behind));
    EXPECT_TRUE(world_.memory.bytes(pending));
    world_.rig.take_over();
    world_.rig.publish(world_.rig.next());
    ASSERT_TRUE(collect(grace));
    ASSERT_TRUE(collect(2 * grace));
    EXPECT_FALSE(world_.memory.bytes(pending));  // Of an epoch that is over.
}

}  // namespace
}  // namespace cw::recovery
