#include "base/executor.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include <gtest/gtest.h>

namespace cw {
namespace {

using Factory = std::unique_ptr<Executor> (*)(std::size_t);

class ExecutorTest : public testing::TestWithParam<Factory> {};

TEST_P(ExecutorTest, RunsEveryTaskBeforeItIsDestroyed) {
    std::atomic<int> done = 0;
    {
        const auto executor = GetParam()(3);
        for (int i = 0; i < 2000; ++i) {
            executor->post([&done] { ++done; });
        }
    }
    EXPECT_EQ(done, 2000);
}

TEST_P(ExecutorTest, GivesEachRunningTaskAWorkerIndexOfItsOwn) {
    constexpr std::size_t workers = 4;
    std::array<std::atomic<int>, workers> running{};
    std::atomic<int> collisions = 0;
    {
        const auto executor = GetParam()(workers);
        ASSERT_EQ(executor->worker_count(), workers);
        for (int i = 0; i < 500; ++i) {
            executor->post([&] {
                const std::size_t index = executor->worker_index();
                collisions += running.at(index)++;
                std::this_thread::yield();
                --running.at(index);
            });
        }
    }
    EXPECT_EQ(collisions, 0);
}

TEST_P(ExecutorTest, TasksMayPostTasks) {
    std::atomic<int> done = 0;
    {
        const auto executor = GetParam()(2);
        std::function<void(int)> split = [&](int depth) {
            ++done;
            if (depth > 0) {
                executor->post([&split, depth] { split(depth - 1); });
                executor->post([&split, depth] { split(depth - 1); });
            }
        };
        executor->post([&split] { split(8); });
        while (done < 511) {
            std::this_thread::yield();
        }
    }
    EXPECT_EQ(done, 511);
}

#ifdef CAUSEWAY_TSAN
const auto all_executors = testing::Values(&make_thread_executor, &make_compute_executor);
#else
const auto all_executors = testing::Values(&make_thread_executor, &make_tbb_executor);
#endif
INSTANTIATE_TEST_SUITE_P(All, ExecutorTest, all_executors,
                         [](const auto& test) { return "kind" + std::to_string(test.index); });

#ifndef CAUSEWAY_TSAN
TEST(TbbExecutor, GivesTwoWorkersThatRunAtTheSameTimeEvenOnFewCores) {
    std::atomic<int> arrived = 0;
    {
        const auto executor = make_tbb_executor(2);
        for (int i = 0; i < 2; ++i) {
            executor->post([&arrived] {
                ++arrived;
                while (arrived < 2) {  // Ends only if the other task has a worker too.
                    std::this_thread::yield();
                }
            });
        }
    }
    EXPECT_EQ(arrived, 2);
}
#endif

TEST(TbbExecutor, KeepsItsIndexBelowOneWhenItHasOneWorker) {
    std::atomic<std::size_t> highest = 0;
    {
        const auto executor = make_tbb_executor(1);
        for (int i = 0; i < 100; ++i) {
            executor->post([&] { highest = std::max(highest.load(), executor->worker_index()); });
        }
    }
    EXPECT_EQ(highest, 0U);
}

TEST(InlineExecutor, RunsInsideTheCall) {
    const auto executor = make_inline_executor();
    int done = 0;
    executor->post([&] { done = 1 + static_cast<int>(executor->worker_index()); });
    EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace cw
