#include "egress/vault/manifest.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::VaultRig;

class Chain : public testing::Test {
protected:
    Chain() {
        DiskEntry& disk = rig_.disk(disk_);
        disk.size_bytes = 64 * mib;
        rig_.publish(rig_.next());
    }
    SegmentRef write(Seq first, Seq last) {
        return rig_.put({disk_,
                         rig_.disk(disk_).generation,
                         first,
                         last,
                         false,
                         {{0, fakes::random_bytes(*random_, 512), last, Codec::none, 0}}});
    }
    // Why `next` may not follow the state; empty if it may.
    std::string refused(const Manifest& next) {
        ChainState state = rig_.state;
        const auto applied = apply_manifest(state, next, {});
        if (!applied) {
            EXPECT_EQ(applied.error().code, Errc::object_corrupt);
            EXPECT_EQ(state.newest.number, rig_.state.newest.number);
            EXPECT_EQ(state.segments.size(), rig_.state.segments.size());
            EXPECT_EQ(state.points.size(), rig_.state.points.size());
        }
        return applied ? "" : applied.error().detail;
    }

    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(5);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("k", *random_);
    DiskId disk_ = make_id<DiskId>(*random_);
    VaultRig rig_{*store_, *kek_, *random_, make_id<MachineId>(*random_)};
};

TEST_F(Chain, FoldsSegmentsAndPoints) {
    rig_.disk(disk_).committed = Seq{4};
    const SegmentRef segment = write(Seq{1}, Seq{4});
    const PointId point = rig_.publish_point({segment}, WallMicros{1});
    EXPECT_TRUE(rig_.state.segments.contains(segment.name));
    EXPECT_EQ(rig_.state.points.at(point).manifest, 2U);
    Manifest prune = rig_.next();
    prune.pruned = {point};
    prune.dropped = {segment.name};
    rig_.publish(prune);
    EXPECT_TRUE(rig_.state.segments.empty());
    EXPECT_TRUE(rig_.state.points.empty());
}

TEST_F(Chain, RefusesWhatDoesNotFollow) {
    const Manifest good = rig_.next();
    EXPECT_EQ(refused(good), "");
    const auto expect_refused = [&](const char* what, auto change) {
        Manifest bad = good;
        change(bad);
        EXPECT_NE(refused(bad), "") << what;
    };
    expect_refused("number", [](Manifest& m) { m.number += 1; });
    expect_refused("machine", [](Manifest& m) { m.machine.bytes[0] ^= std::byte{1}; });
    expect_refused("hash link", [](Manifest& m) { m.previous[0] ^= std::byte{1}; });
    expect_refused("silent epoch", [](Manifest& m) { m.epoch = Epoch{2}; });
    expect_refused("other writer, same epoch", [](Manifest& m) { m.writer[0] ^= std::byte{1}; });
    expect_refused("takeover by itself", [](Manifest& m) {
        m.kind = ManifestKind::takeover;
        m.epoch = Epoch{2};
    });
    expect_refused("takeover without epoch", [](Manifest& m) {
        m.kind = ManifestKind::takeover;
        m.writer[0] ^= std::byte{1};
    });
    expect_refused("skipped epoch", [](Manifest& m) {
        m.kind = ManifestKind::takeover;
        m.writer[0] ^= std::byte{1};
        m.epoch = Epoch{3};
    });
    expect_refused("checkpoint number", [](Manifest& m) { m.checkpoint = 2; });
    expect_refused("boundary above checkpoint", [](Manifest& m) { m.boundary = 2; });
    expect_refused("doubled disk", [](Manifest& m) { m.disks.push_back(m.disks[0]); });
    expect_refused("unknown segment dropped", [](Manifest& m) { m.dropped.emplace_back(); });
    expect_refused("unknown point pruned", [](Manifest& m) { m.pruned.emplace_back(); });
}

TEST_F(Chain, CommittedNeverGoesBackWithinAGeneration) {
    rig_.disk(disk_).committed = Seq{9};
    rig_.publish(rig_.next());
    Manifest back = rig_.next();
    back.disks[0].committed = Seq{8};
    EXPECT_NE(refused(back), "");
    back.disks[0].generation = Generation{2};  // A new history starts over.
    back.disks[0].parent_generation = Generation{1};
    back.disks[0].parent_seq = Seq{9};
    back.disks[0].committed = Seq{0};
    EXPECT_EQ(refused(back), "");
    rig_.disk(disk_) = back.disks[0];
    rig_.publish(back);
    Manifest older = rig_.next();
    older.disks[0].generation = Generation{1};
    older.disks[0].parent_generation = Generation{0};
    EXPECT_NE(refused(older), "");
    Manifest other_parent = rig_.next();
    other_parent.disks[0].parent_seq = Seq{5};
    EXPECT_NE(refused(other_parent), "");
}

TEST_F(Chain, ATakeoverMayTakeWritesBackIfNothingOfThemStays) {
    rig_.disk(disk_).committed = Seq{5};
    rig_.publish(rig_.next());
    rig_.disk(disk_).committed = Seq{9};
    const SegmentRef ref = write(Seq{6}, Seq{9});
    const PointId point = rig_.publish_point({ref}, WallMicros{1});
    Manifest back = rig_.next();
    back.kind = ManifestKind::takeover;
    back.epoch = Epoch{raw(back.epoch) + 1};
    back.writer[0] ^= std::byte{1};
    back.disks[0].committed = Seq{5};
    back.dropped = {ref.name};
    back.pruned = {point};
    EXPECT_EQ(refused(back), "");
    Manifest keeps_segment = back;
    keeps_segment.dropped.clear();
    EXPECT_NE(refused(keeps_segment), "");
    Manifest keeps_point = back;
    keeps_point.pruned.clear();
    EXPECT_NE(refused(keeps_point), "");
}

TEST_F(Chain, PointsAreCompleteCommittedAndOutsideFences) {
    const DiskId second = make_id<DiskId>(*random_);
    rig_.disk(disk_).committed = Seq{9};
    rig_.disk(second).committed = Seq{3};
    Manifest good = rig_.next();
    PointEntry point;
    point.id = make_id<PointId>(*random_);
    point.cuts = {{disk_, Generation{1}, Seq{9}, {}, 0}, {second, Generation{1}, Seq{3}, {}, 0}};
    good.points = {point};
    EXPECT_EQ(refused(good), "");
    const auto expect_refused = [&](const char* what, auto change) {
        Manifest bad = good;
        change(bad, bad.points[0]);
        EXPECT_NE(refused(bad), "") << what;
    };
    expect_refused("not committed", [](Manifest&, PointEntry& p) { p.cuts[0].cut = Seq{10}; });
    expect_refused("other generation",
                   [](Manifest&, PointEntry& p) { p.cuts[0].generation = Generation{2}; });
    expect_refused("missing disk", [](Manifest&, PointEntry& p) { p.cuts.pop_back(); });
    expect_refused("no disk", [](Manifest&, PointEntry& p) { p.cuts.clear(); });
    expect_refused("doubled disk", [](Manifest&, PointEntry& p) { p.cuts[1] = p.cuts[0]; });
    expect_refused("unknown disk", [](Manifest&, PointEntry& p) { p.cuts[1].disk = {}; });
    expect_refused("not protected",
                   [](Manifest& m, PointEntry&) { m.disks[1].protected_ = false; });
    expect_refused("open fence", [](Manifest& m, PointEntry&) { m.disks[0].open_fence = Seq{5}; });
    Manifest before = good;  // The fence was opened after the cut.
    before.disks[0].open_fence = Seq{10};
    EXPECT_EQ(refused(before), "");
}

TEST_F(Chain, AnExtendedPointMayOnlyGrowOlder) {
    const PointId id = rig_.publish_point({}, WallMicros{100});
    Manifest longer = rig_.next();
    longer.points = {rig_.state.points.at(id)};
    longer.points[0].valid_until = WallMicros{200};
    EXPECT_EQ(refused(longer), "");
    longer.points[0].valid_until = WallMicros{50};
    EXPECT_NE(refused(longer), "");
    longer.points[0].valid_until = WallMicros{200};
    longer.points[0].cuts[0].stream_hash[0] ^= std::byte{1};
    EXPECT_NE(refused(longer), "");
}

TEST_F(Chain, ACheckpointStandsForEverythingBeforeIt) {
    rig_.disk(disk_).committed = Seq{4};
    const PointId point = rig_.publish_point({write(Seq{1}, Seq{4})}, WallMicros{1});
    rig_.disk(disk_).generation = Generation{2};
    rig_.disk(disk_).parent_generation = Generation{1};
    rig_.disk(disk_).parent_seq = Seq{4};
    rig_.disk(disk_).committed = Seq{0};
    rig_.publish(rig_.next());
    const Manifest checkpoint = make_checkpoint(rig_.state);
    EXPECT_EQ(refused(checkpoint), "");
    Manifest forgets_segment = checkpoint, forgets_point = checkpoint;
    forgets_segment.added.clear();
    forgets_point.points.clear();
    EXPECT_NE(refused(forgets_segment), "");
    EXPECT_NE(refused(forgets_point), "");

    const SealedManifest sealed = rig_.seal_manifest(checkpoint);
    const auto opened = open_manifest(sealed.bytes, rig_.vault, rig_.keys);
    ASSERT_TRUE(opened);
    const auto state = begin_chain(*opened, sealed.hash);
    ASSERT_TRUE(state) << to_string(state.error());
    EXPECT_EQ(state->segments.size(), 1U);
    EXPECT_EQ(state->points.at(point).manifest, 2U);
    EXPECT_EQ(state->deks.size(), rig_.state.deks.size());
    EXPECT_EQ(state->lineage.at({disk_, Generation{2}}).parent_seq, Seq{4});
    EXPECT_TRUE(state->lineage.contains({disk_, Generation{1}}));
}

}  // namespace
}  // namespace cw::vault
