#include "pipeline/body_space.h"

#include "base/ids.h"
#include "tests/pipeline/rig.h"

#include <cstring>
#include <thread>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

TEST(BodySpace, TakesTheWorstCaseOrNothing) {
    const auto pool = make_pool(4);
    int rings = 0;
    const BodySpace first(*pool, 3 * slab_bytes - 1);
    pool->on_available([](void* context) { ++*static_cast<int*>(context); }, &rings);
    ASSERT_TRUE(first.has_room());
    EXPECT_EQ(pool->free_count(), 1U);
    const BodySpace second(*pool, slab_bytes + 1);
    EXPECT_FALSE(second.has_room());
    EXPECT_EQ(pool->free_count(), 1U);
    EXPECT_EQ(rings, 0);  // A refusal wakes nobody: it would wake the one who was refused.
}

TEST(BodySpace, ReturnsSlabsAsSoonAsTheyCannotBeNeeded) {
    const auto pool = make_pool(4);
    BodySpace space(*pool, 4 * slab_bytes);
    ASSERT_TRUE(space.has_room());
    space.allocate(1, 100, slab_bytes);
    EXPECT_EQ(pool->free_count(), 0U);  // 100 bytes and three slabs to come.
    space.allocate(1, 100, slab_bytes);
    EXPECT_EQ(pool->free_count(), 1U);
    space.allocate(2, slab_bytes, 2 * slab_bytes);
    EXPECT_EQ(pool->free_count(), 2U);
    const std::vector<Slab> slabs = space.finish();
    EXPECT_EQ(slabs.size(), 2U);
}

TEST(BodySpace, ScattersAPieceOverTwoSlabs) {
    const auto pool = make_pool(2);
    BodySpace space(*pool, 2 * slab_bytes);
    space.allocate(1, slab_bytes - 10, slab_bytes - 10);
    const auto place = space.allocate(1, 30, 30);
    EXPECT_EQ(place.ordinal, 1U);
    EXPECT_EQ(place.offset, slab_bytes - 10);
    const BodyPieces pieces = space.pieces(place.offset, 30);
    ASSERT_EQ(pieces.writable().size(), 2U);
    EXPECT_EQ(pieces.writable()[0].size(), 10U);
    EXPECT_EQ(pieces.writable()[1].size(), 20U);
}

TEST(BodySpace, GivesWorkersDisjointAdjacentRanges) {
    constexpr std::size_t workers = 4, rounds = 500, raw = 2048, stored = 700;
    const auto pool = make_pool(workers * rounds * raw / slab_bytes + 1);
    BodySpace space(*pool, workers * rounds * raw);
    ASSERT_TRUE(space.has_room());
    {
        std::vector<std::jthread> threads;
        threads.reserve(workers);
        for (std::size_t t = 0; t < workers; ++t) {
            threads.emplace_back([&] {
                for (std::size_t i = 0; i < rounds; ++i) {
                    const auto place = space.allocate(1, stored, raw);
                    const BodyPieces pieces = space.pieces(place.offset, stored);
                    for (const MutableBytes piece : pieces.writable()) {
                        std::memset(piece.data(), static_cast<int>(place.ordinal % 251),
                                    piece.size());
                    }
                }
            });
        }
    }
    ASSERT_EQ(space.used_bytes(), workers * rounds * stored);
    const std::vector<Slab> slabs = space.finish();
    std::size_t wrong = 0;
    for (std::size_t at = 0; at < workers * rounds * stored; ++at) {
        const auto value =
            std::to_integer<std::size_t>(slabs[at / slab_bytes].data()[at % slab_bytes]);
        wrong += value != at / stored % 251;
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(pool->free_count(), pool->count() - slabs.size());
}

}  // namespace
}  // namespace cw::pipeline
