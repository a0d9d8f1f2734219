#include "agent/stream/range_set.h"

#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::agent {
namespace {

using Ranges = std::vector<RangeSet::Range>;

TEST(RangeSet, RoundsOutToBlocksAndEndsWithTheDisk) {
    RangeSet set(10 * block_bytes + 512, 8);
    ASSERT_TRUE(set.add(4095, 2));
    ASSERT_TRUE(set.add(10 * block_bytes, 512));
    EXPECT_EQ(set.all(), (Ranges{{0, 2 * block_bytes}, {10 * block_bytes, 512}}));
    EXPECT_EQ(set.bytes(), 2 * block_bytes + 512);
}

TEST(RangeSet, WithoutRoomNothingIsTakenButWhatAdjoins) {
    RangeSet set(mib, 2);
    ASSERT_TRUE(set.add(0, 512));
    ASSERT_TRUE(set.add(8 * block_bytes, 512));
    const Ranges before = set.all();
    EXPECT_FALSE(set.add(4 * block_bytes, 512));
    EXPECT_EQ(set.all(), before);
    EXPECT_EQ(set.bytes(), 2 * block_bytes);
    EXPECT_TRUE(set.add(block_bytes, 512));
    EXPECT_TRUE(set.add(0, 9 * block_bytes));
    EXPECT_EQ(set.all(), (Ranges{{0, 9 * block_bytes}}));
    EXPECT_FALSE(RangeSet(mib, 0).add(0, 512));
}

// Against one bit per block.
TEST(RangeSet, KnowsExactlyTheBlocksThatWereAddedInAnyOrder) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto dice = make_seeded_random(seed);
        constexpr std::uint64_t blocks = 300, size = blocks * block_bytes - 512;
        RangeSet set(size, blocks);
        std::vector<bool> model(blocks);
        for (int i = 0; i < 80; ++i) {
            const std::uint64_t at = dice->below(size / 512) * 512;
            const std::uint64_t length = std::min((1 + dice->below(40)) * 512, size - at);
            ASSERT_TRUE(set.add(at, length));
            for (std::uint64_t b = at / block_bytes; b <= (at + length - 1) / block_bytes; ++b) {
                model[b] = true;
            }
        }
        std::vector<bool> seen(blocks);
        std::uint64_t bytes = 0, after = 0;
        for (const auto& [offset, length] : set.all()) {
            EXPECT_TRUE(offset > after || bytes == 0);  // Neither overlapping nor adjacent.
            after = offset + length;
            bytes += length;
            for (std::uint64_t at = offset; at < after; at += block_bytes) {
                seen[at / block_bytes] = true;
            }
        }
        EXPECT_EQ(seen, model) << seed;
        EXPECT_EQ(set.bytes(), bytes);
        EXPECT_LE(after, size);
    }
}

TEST(RangeSet, PartsOfAWindowAreWhatLiesInIt) {
    RangeSet set(mib, 8);
    ASSERT_TRUE(set.add(0, 4 * block_bytes));
    ASSERT_TRUE(set.add(8 * block_bytes, block_bytes));
    EXPECT_EQ(set.within(2 * block_bytes, 8 * block_bytes),
              (Ranges{{2 * block_bytes, 2 * block_bytes}}));
    EXPECT_EQ(set.within(3 * block_bytes, 9 * block_bytes),
              (Ranges{{3 * block_bytes, block_bytes}, {8 * block_bytes, block_bytes}}));
    EXPECT_TRUE(set.within(4 * block_bytes, 8 * block_bytes).empty());
}

TEST(RangeSet, AShorterListCoversTheSameAndJoinsTheNearest) {
    const Ranges list{{0, 4096}, {8192, 4096}, {65536, 4096}, {73728, 4096}, {500'000, 512}};
    EXPECT_EQ(RangeSet::covering(list, 5), list);
    EXPECT_EQ(RangeSet::covering(list, 3), (Ranges{{0, 12288}, {65536, 12288}, {500'000, 512}}));
    EXPECT_EQ(RangeSet::covering(list, 4),
              (Ranges{{0, 4096}, {8192, 4096}, {65536, 12288}, {500'000, 512}}));
    EXPECT_EQ(RangeSet::covering(list, 1), (Ranges{{0, 500'512}}));
    EXPECT_TRUE(RangeSet::covering({}, 1).empty());
}

TEST(RangeSet, MergesOnlyWhatHasRoom) {
    RangeSet set(mib, 2), other(mib, 4);
    ASSERT_TRUE(set.add(0, 4096) && other.add(4096, 4096) && other.add(65536, 4096));
    ASSERT_TRUE(set.merge(other));
    EXPECT_EQ(set.all(), (Ranges{{0, 8192}, {65536, 4096}}));
    ASSERT_TRUE(other.add(262'144, 4096));
    EXPECT_FALSE(set.merge(other));
}

}  // namespace
}  // namespace cw::agent
