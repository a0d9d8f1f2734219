#include "recovery/block_digests.h"

#include "tests/recovery/world.h"

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

struct Told {
    std::uint64_t zero = 0, fingerprints = 0, unknown = 0;
};

// Compares a table with what the disk held; a fingerprint that is told must be right.
Told compare(const BlockDigests& digests, const ByteVector& truth,
             const FingerprintSecret& secret) {
    Told told;
    const BlockRange& range = digests.range();
    for (std::uint64_t block = range.first; block < range.end(); ++block) {
        const auto digest = digests.at(block);
        const std::uint64_t begin = block * digest_block_bytes;
        if (begin + digest_block_bytes > truth.size()) {
            EXPECT_FALSE(digest) << "block " << block << " is not a whole one";
            continue;
        }
        const Bytes content = Bytes(truth).subspan(begin, digest_block_bytes);
        if (!digest) {
            ++told.unknown;
            continue;
        }
        ++(all_zero(content) ? told.zero : told.fingerprints);
        EXPECT_EQ(*digest, fingerprint(content, secret)) << "block " << block;
    }
    return told;
}

Result<BlockDigests> digests_at(World& world, const Catalog& catalog, const PointId& id,
                                const BlockRange& range, const std::string& which = "") {
    CW_TRY_ASSIGN(const vault::PointEntry* point, catalog.find_point(to_string(id)));
    CW_TRY_ASSIGN(const DiskAtPoint disk, catalog.find_disk(*point, which));
    Fetcher fetcher(*world.store, 4);
    return BlockDigests::read(fetcher, catalog, disk, range, {});
}

TEST(BlockDigests, NeverTellsAWrongFingerprintOfAnyPoint) {
    Told all;
    for (std::uint64_t seed = 1; seed <= 25; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        World world(seed);
        for (int i = 0; i < 30; ++i) {
            world.model.step();
        }
        world.model.publish_point();
        const Catalog catalog = world.catalog();
        for (const auto& [id, truth] : world.model.truth()) {
            const auto digests = digests_at(world, catalog, id, {0, 17});
            ASSERT_TRUE(digests) << to_string(digests.error());
            const Told told = compare(*digests, truth, world.rig.keys.fingerprint_secret);
            EXPECT_EQ(told.zero + told.fingerprints, digests->known());
            all.zero += told.zero;
            all.fingerprints += told.fingerprints;
            all.unknown += told.unknown;
        }
    }
    EXPECT_GT(all.zero, 20U);  // The histories held all three.
    EXPECT_GT(all.fingerprints, 20U);
    EXPECT_GT(all.unknown, 20U);
}

TEST(BlockDigests, ARangeTellsWhatTheWholeTells) {
    World world(3);
    for (int i = 0; i < 30; ++i) {
        world.model.step();
    }
    const PointId point = world.model.publish_point();
    const Catalog catalog = world.catalog();
    const auto whole = digests_at(world, catalog, point, {0, 17});
    ASSERT_TRUE(whole);
    for (std::uint64_t first = 0; first < 17; ++first) {
        const auto part = digests_at(world, catalog, point, {first, 5});
        ASSERT_TRUE(part);
        for (std::uint64_t block = first; block < first + 5; ++block) {
            EXPECT_EQ(part->at(block), block < 17 ? whole->at(block) : std::nullopt);
        }
    }
}

// One segment of one disk, written block by block.
class Blocks : public testing::Test {
protected:
    static constexpr std::uint64_t block = digest_block_bytes, disk_bytes = 6 * block;

    void write(std::uint64_t offset, std::uint64_t length, std::uint8_t fill) {
        const Seq seq{++seq_};
        plan_.extents.push_back({.offset = offset,
                                 .bytes = ByteVector(length, std::byte{fill}),
                                 .seq = seq,
                                 .codec = vault::Codec::none,
                                 .hole_bytes = 0});
    }
    void hole(std::uint64_t offset, std::uint64_t length) {
        const Seq seq{++seq_};
        plan_.extents.push_back({.offset = offset,
                                 .bytes = {},
                                 .seq = seq,
                                 .codec = vault::Codec::zero,
                                 .hole_bytes = length});
    }
    BlockDigests publish() {
        vault::DiskEntry& entry = world_.rig.disk(disk_);
        entry.size_bytes = disk_bytes;
        entry.protected_ = true;
        plan_.disk = disk_;
        plan_.first = Seq{1};
        plan_.last = Seq{seq_};
        const auto ref = world_.rig.put(plan_);
        entry.committed = plan_.last;
        const PointId point = world_.rig.publish_point({ref}, WallMicros{1});
        const Catalog catalog = world_.catalog();
        auto digests = digests_at(world_, catalog, point, {0, 6}, to_string(disk_));
        EXPECT_TRUE(digests) << to_string(digests.error());
        CW_ASSERT(digests.has_value());
        return std::move(*digests);
    }
    Fingerprint of(std::uint8_t fill) {
        return fingerprint(ByteVector(block, std::byte{fill}), world_.rig.keys.fingerprint_secret);
    }

    World world_{9};
    DiskId disk_ = make_id<DiskId>(*world_.random);
    fakes::RigSegment plan_;
    std::uint64_t seq_ = 0;
};

TEST_F(Blocks, OverwrittenInPartAreUnknownAndWrittenWholeAreKnownAgain) {
    write(0, 3 * block, 1);
    write(block + 512, 512, 2);      // Block 1: a mixture.
    write(2 * block + 512, 512, 2);  // Block 2: a mixture, then
    write(2 * block, block, 3);      // whole again.
    hole(3 * block, block);
    hole(4 * block, block / 2);  // Block 4: zeros, but put together from two layers.
    const BlockDigests digests = publish();
    EXPECT_EQ(digests.at(0), of(1));
    EXPECT_EQ(digests.at(1), std::nullopt);
    EXPECT_EQ(digests.at(2), of(3));
    EXPECT_EQ(digests.at(3), of(0));
    EXPECT_EQ(digests.at(4), std::nullopt);
    EXPECT_EQ(digests.at(5), of(0));  // Never written.
    EXPECT_EQ(digests.known(), 4U);
}

}  // namespace
}  // namespace cw::recovery
