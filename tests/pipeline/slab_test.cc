#include "pipeline/slab.h"

#include "base/ids.h"
#include "tests/pipeline/rig.h"

#include <atomic>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

TEST(SlabPool, LendsEachSlabOnceAndAligned) {
    const auto pool = make_pool(5);
    std::vector<Slab> loans;
    std::set<const std::byte*> places;
    for (int i = 0; i < 5; ++i) {
        loans.push_back(pool->try_take());
        ASSERT_TRUE(loans.back());
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(loans.back().data()) % block_bytes, 0U);
        EXPECT_EQ(loans.back().bytes().size(), slab_bytes);
        places.insert(loans.back().data());
    }
    EXPECT_EQ(places.size(), 5U);
    EXPECT_FALSE(pool->try_take());
    EXPECT_EQ(pool->free_count(), 0U);
    loans.clear();
    EXPECT_EQ(pool->free_count(), 5U);
}

// Kilobytes of this process that are in memory.
std::size_t resident_kib() {
    std::ifstream statm("/proc/self/statm");
    std::size_t size = 0, resident = 0;
    statm >> size >> resident;
    return resident * 4;
}

TEST(SlabPool, IsInMemoryBeforeItsFirstUseIfAsked) {
    constexpr std::size_t count = 64;
    const auto pool = make_pool(count);
    const std::size_t before = resident_kib();
    pool->make_resident();
    const std::size_t taken = resident_kib() - before;
    if (taken == 0) {
        GTEST_SKIP() << "this kernel has no MADV_POPULATE_WRITE";
    }
    EXPECT_GE(taken, count * 1024 * 9 / 10);
    const Slab slab = pool->try_take();
    EXPECT_TRUE(slab);
}

TEST(SlabPool, MovingASlabMovesItsOwnership) {
    const auto pool = make_pool(2);
    Slab a = pool->try_take();
    Slab b = pool->try_take();
    std::byte* const place = b.data();
    a = std::move(b);  // The first one goes home here.
    EXPECT_EQ(pool->free_count(), 1U);
    EXPECT_EQ(a.data(), place);
    EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move): its state after a move is promised.
}

TEST(SlabPool, RingsWhenTheEmptyPoolHasASlabAgain) {
    const auto pool = make_pool(2);
    int rings = 0;
    pool->on_available([](void* context) { ++*static_cast<int*>(context); }, &rings);
    Slab a = pool->try_take();
    a.reset();
    EXPECT_EQ(rings, 0);
    a = pool->try_take();
    Slab b = pool->try_take();
    a.reset();
    b.reset();
    EXPECT_EQ(rings, 1);
}

TEST(SlabPool, NeverLendsASlabToTwoThreads) {
    constexpr std::size_t count = 3, threads = 4;
    const auto pool = make_pool(count);
    std::atomic<int> clashes = 0;
    {
        std::vector<std::jthread> takers;
        for (std::size_t t = 0; t < threads; ++t) {
            takers.emplace_back([&, t] {
                for (int round = 0; round < 20'000; ++round) {
                    Slab slab = pool->try_take();
                    if (!slab) {
                        std::this_thread::yield();
                        continue;
                    }
                    // Not atomic on purpose: a shared loan is a data race that TSan sees as well.
                    std::memset(slab.data(), static_cast<int>(t + 1), 8);
                    clashes += slab.data()[7] != static_cast<std::byte>(t + 1);
                }
            });
        }
    }
    EXPECT_EQ(clashes, 0);
    EXPECT_EQ(pool->free_count(), count);
}

TEST(SlabPoolDeathTest, RefusesToDieBeforeItsLoans) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            auto pool = make_pool(1);
            const Slab slab = pool->try_take();
            pool.reset();
        },
        "invariant broken");
}

}  // namespace
}  // namespace cw::pipeline
