#include "recovery/verify.h"

#include "tests/recovery/world.h"

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class Verify : public testing::Test {
protected:
    Verify() {
        for (int i = 0; i < 50; ++i) {
            world_.model.step();
        }
        world_.model.publish_point();
    }
    VerifyReport verify(VerifyDepth depth) {
        const Catalog catalog = world_.catalog();
        auto report = verify_machine(*world_.store, catalog, {.depth = depth}, *world_.random, {});
        CW_ASSERT(report.has_value());
        return std::move(*report);
    }
    // A segment that some point needs and some does not, and the points that do.
    struct Victim {
        vault::SegmentRef ref;
        std::set<PointId> needed_by;
    };
    Victim victim() {
        const Catalog catalog = world_.catalog();
        for (const auto& [name, ref] : catalog.state().segments) {
            Victim out{ref, {}};
            for (const auto* point : catalog.points()) {
                const auto segments = catalog.segments_of(point->cuts.at(0)).value();
                for (const auto* segment : segments) {
                    if (segment->name == name) {
                        out.needed_by.insert(point->id);
                    }
                }
            }
            if (!out.needed_by.empty() && out.needed_by.size() < catalog.points().size() &&
                ref.index_offset > vault::segment_header_bytes) {
                return out;
            }
        }
        CW_ASSERT(false);
        return {};
    }
    void expect_verdict(const VerifyReport& report, const Victim& hurt, Verdict verdict,
                        Errc code) {
        EXPECT_EQ(report.verdict(), verdict);
        ASSERT_EQ(report.segment_findings.size(), 1U);
        EXPECT_EQ(report.segment_findings[0].object, to_string(segment_blob(hurt.ref.name)));
        EXPECT_EQ(report.segment_findings[0].error.code, code);
        for (const PointVerdict& point : report.points) {
            const bool needs = hurt.needed_by.contains(point.point.id);
            EXPECT_EQ(point.verdict, needs ? verdict : Verdict::intact);
            EXPECT_EQ(point.findings.size(), needs ? 1U : 0U);
        }
    }

    World world_{14};
};

TEST_F(Verify, JudgesThePointsBeforeADamagedManifest) {  // F3
    for (int i = 0; i < 3; ++i) {
        world_.model.publish_point();
    }
    const std::size_t points = world_.catalog().points().size();
    const auto newest = vault::manifest_blob(world_.machine, world_.rig.state.newest.number);
    world_.memory.flip_bit(newest, 3000);
    EXPECT_EQ(Catalog::open(*world_.store, *world_.kek, world_.machine, {}).error().code,
              Errc::object_corrupt);
    CatalogOptions options;
    options.accept_stale = true;
    const auto catalog = Catalog::open(*world_.store, *world_.kek, world_.machine, options);
    ASSERT_TRUE(catalog) << to_string(catalog.error());
    ASSERT_TRUE(catalog->lost());
    const auto report = verify_machine(*world_.store, *catalog, {}, *world_.random, {});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->verdict(), Verdict::unusable);
    ASSERT_EQ(report->chain_findings.size(), 1U);
    EXPECT_NE(report->chain_findings[0].error.detail.find(to_string(newest)), std::string::npos);
    EXPECT_EQ(report->points.size(), points - 1);
    for (const PointVerdict& point : report->points) {
        EXPECT_EQ(point.verdict, Verdict::intact);
    }
}

TEST_F(Verify, FindsAWholeVaultIntact) {
    for (const VerifyDepth depth : {VerifyDepth::index, VerifyDepth::sampled, VerifyDepth::full}) {
        const VerifyReport report = verify(depth);
        EXPECT_EQ(report.verdict(), Verdict::intact);
        EXPECT_EQ(report.points.size(), world_.model.truth().size());
        EXPECT_EQ(report.manifests_checked, world_.rig.state.newest.number);
        EXPECT_EQ(report.oldest_manifest, 1U);
        EXPECT_EQ(report.segments_checked, world_.rig.state.segments.size());
        EXPECT_EQ(report.chunks_checked > 0, depth != VerifyDepth::index);
    }
}

TEST_F(Verify, FullSeesAFlippedBitInAChunk) {
    const Victim hurt = victim();
    world_.memory.flip_bit(segment_blob(hurt.ref.name), vault::segment_header_bytes * 8 + 3);
    expect_verdict(verify(VerifyDepth::full), hurt, Verdict::unusable, Errc::object_corrupt);
}

TEST_F(Verify, SampledTakesOneChunkOfEachSegmentWhereFullTakesAll) {
    const VerifyReport index = verify(VerifyDepth::index), sampled = verify(VerifyDepth::sampled),
                       full = verify(VerifyDepth::full);
    EXPECT_EQ(index.chunks_checked, 0U);
    EXPECT_GT(sampled.chunks_checked, 0U);
    EXPECT_LE(sampled.chunks_checked, sampled.segments_checked);
    EXPECT_GT(full.chunks_checked, sampled.chunks_checked);
    EXPECT_LT(index.bytes_fetched, sampled.bytes_fetched);
    EXPECT_LT(sampled.bytes_fetched, full.bytes_fetched);
}

TEST_F(Verify, SampledSeesASegmentWhoseChunksAreAllDamaged) {
    const Victim hurt = victim();
    const auto name = segment_blob(hurt.ref.name);
    for (std::uint64_t byte = vault::segment_header_bytes; byte < hurt.ref.index_offset; ++byte) {
        world_.memory.flip_bit(name, byte * 8);
    }
    EXPECT_EQ(verify(VerifyDepth::index).verdict(), Verdict::intact);
    for (int i = 0; i < 20; ++i) {  // Whichever it takes.
        expect_verdict(verify(VerifyDepth::sampled), hurt, Verdict::unusable, Errc::object_corrupt);
    }
}

// What a sample proves is what was in it: of one bad chunk among several it hears now and then,
// never wrongly, and full always.
TEST_F(Verify, SampledSeesOneBadChunkSometimesAndFullAlways) {
    const Victim hurt = victim();
    world_.memory.flip_bit(segment_blob(hurt.ref.name), vault::segment_header_bytes * 8 + 3);
    expect_verdict(verify(VerifyDepth::full), hurt, Verdict::unusable, Errc::object_corrupt);
    int seen = 0;
    constexpr int runs = 100;
    for (int i = 0; i < runs; ++i) {
        const VerifyReport report = verify(VerifyDepth::sampled);
        const bool found = report.verdict() == Verdict::unusable;
        EXPECT_TRUE(found || report.verdict() == Verdict::intact);
        seen += found ? 1 : 0;
    }
    EXPECT_GT(seen, 0);
    EXPECT_LT(seen, runs);
}

TEST_F(Verify, IndexSeesDamagedHeadersIndexesAndTrailers) {
    const Victim hurt = victim();
    const auto name = segment_blob(hurt.ref.name);
    for (const std::uint64_t byte :
         {std::uint64_t{9}, hurt.ref.index_offset + 3, hurt.ref.object_bytes - 1}) {
        world_.memory.flip_bit(name, byte * 8);
        expect_verdict(verify(VerifyDepth::index), hurt, Verdict::unusable, Errc::object_corrupt);
        world_.memory.flip_bit(name, byte * 8);
    }
}

TEST_F(Verify, F2_AMissingSegmentSpoilsOnlyThePointsThatNeedIt) {
    const Victim hurt = victim();
    world_.memory.erase(segment_blob(hurt.ref.name));
    expect_verdict(verify(VerifyDepth::index), hurt, Verdict::unusable, Errc::blob_not_found);
}

TEST_F(Verify, D19AnArchivedSegmentIsToldBeforeItIsNeededAndIsNotDamage) {
    const Victim hurt = victim();
    ASSERT_TRUE(world_.memory.set_archived(segment_blob(hurt.ref.name), true));
    expect_verdict(verify(VerifyDepth::index), hurt, Verdict::unknown, Errc::blob_offline);
    ASSERT_TRUE(world_.memory.set_archived(segment_blob(hurt.ref.name), false));
    EXPECT_EQ(verify(VerifyDepth::full).verdict(), Verdict::intact);
}

TEST_F(Verify, F6_UnreadableIsUnknownNotUnusable) {
    const Catalog catalog = world_.catalog();
    world_.memory.script(BlobOp::get, BlobFault::unavailable, 100'000);
    const auto report = verify_machine(*world_.store, catalog, {}, *world_.random, {});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->verdict(), Verdict::unknown);
    ASSERT_FALSE(report->points.empty());
    for (const PointVerdict& point : report->points) {
        EXPECT_EQ(point.verdict, Verdict::unknown);
        ASSERT_FALSE(point.findings.empty());
        EXPECT_EQ(name_of(point.findings[0].error.code), name_of(Errc::blob_unavailable));
    }
}

TEST_F(Verify, SeesAChainThatWasChangedBelowTheCheckpoint) {
    world_.rig.publish(make_checkpoint(world_.rig.state));
    const auto name = vault::manifest_blob(world_.machine, 2);
    world_.memory.flip_bit(name, 2000);
    const VerifyReport report = verify(VerifyDepth::index);
    EXPECT_EQ(report.verdict(), Verdict::unusable);
    ASSERT_EQ(report.chain_findings.size(), 1U);
    EXPECT_EQ(report.chain_findings[0].object, to_string(name));
    EXPECT_EQ(report.oldest_manifest, 3U);
    for (const PointVerdict& point : report.points) {
        EXPECT_EQ(point.verdict, Verdict::intact);  // Their own evidence is whole.
    }
}

TEST_F(Verify, AcceptsThatOldManifestsWereCollected) {
    world_.rig.publish(make_checkpoint(world_.rig.state));
    vault::Manifest bounded = world_.rig.next();
    bounded.boundary = bounded.checkpoint;
    world_.rig.publish(bounded);
    for (std::uint64_t n = 2; n < bounded.checkpoint; ++n) {
        world_.memory.erase(vault::manifest_blob(world_.machine, n));
    }
    const VerifyReport report = verify(VerifyDepth::index);
    EXPECT_EQ(report.verdict(), Verdict::intact);
    EXPECT_EQ(report.oldest_manifest, bounded.checkpoint);
}

}  // namespace
}  // namespace cw::recovery
