#include "pipeline/ring.h"

#include <memory>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

TEST(Ring, KeepsOrderAndEachItemOnceBetweenTwoThreads) {
    // A small ring passes few items: on a busy machine each of them waits for both threads' turns.
    using Round = std::pair<std::size_t, int>;
    for (const auto& [capacity, count] :
         {Round{1, 100}, Round{2, 200}, Round{8, 800}, Round{1'024, 100'000}}) {
        Ring<std::unique_ptr<int>> ring(capacity);
        std::jthread producer([&, count = count] {
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
