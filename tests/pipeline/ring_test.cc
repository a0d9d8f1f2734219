#include "pipeline/ring.h"

#include <memory>
#include <thread>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

TEST(Ring, KeepsOrderAndEachItemOnceBetweenTwoThreads) {
    for (const std::size_t capacity : {1, 2, 8}) {
        Ring<std::unique_ptr<int>> ring(capacity);
        constexpr int count = 50'000;
        std::jthread producer([&] {
            for (int i = 0; i < count; ++i) {
                auto item = std::make_unique<int>(i);
                while (!ring.try_push(item)) {
                    ASSERT_NE(item, nullptr);  // A refused push leaves its argument alone.
                    std::this_thread::yield();
                }
            }
        });
        int bad = 0;
        for (int i = 0; i < count; ++i) {
            std::unique_ptr<int> item;
            while (!ring.try_pop(item)) {
                std::this_thread::yield();
            }
            bad += *item != i;
        }
        EXPECT_EQ(bad, 0) << "capacity " << capacity;
        EXPECT_TRUE(ring.empty());
    }
}

TEST(Ring, AnswersFullAndEmptyAtItsCapacity) {
    Ring<int> ring(3);
    EXPECT_EQ(ring.capacity(), 4U);
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(ring.full());
        EXPECT_TRUE(ring.try_push(int{i}));
    }
    EXPECT_TRUE(ring.full());
    EXPECT_FALSE(ring.try_push(4));
    int value = -1;
    EXPECT_TRUE(ring.try_pop(value));
    EXPECT_EQ(value, 0);
    EXPECT_TRUE(ring.try_push(4));
}

TEST(Ring, DestroysAnItemWhenItIsTakenNotWhenItIsOverwritten) {
    Ring<std::shared_ptr<int>> ring(2);
    auto item = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = item;
    ASSERT_TRUE(ring.try_push(std::move(item)));
    std::shared_ptr<int> taken;
    ASSERT_TRUE(ring.try_pop(taken));
    taken.reset();
    EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace cw::pipeline
