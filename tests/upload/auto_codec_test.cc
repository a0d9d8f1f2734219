// "auto" chooses by what keeps segments waiting, also where memory is too small for long queues.
#include "tests/upload/rig.h"

#include <utility>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

// A processor that needs `cost_ns` for each task.
class SlowExecutor final : public Executor {
public:
    SlowExecutor(Clock& clock, std::int64_t cost_ns) : clock_(clock), cost_ns_(cost_ns) {}
    void post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
    [[nodiscard]] std::size_t worker_index() const noexcept override { return 0; }
    [[nodiscard]] std::size_t worker_count() const noexcept override { return 1; }
    void run_all() {
        for (; !tasks_.empty(); tasks_.pop_front()) {
            std::exchange(tasks_.front(), {})();
        }
    }
    void run_due() {
        if (tasks_.empty()) {
            busy_until_ = std::nullopt;
        } else if (!busy_until_) {
            busy_until_ = clock_.boot() + cost_ns_;
        } else if (clock_.boot() >= *busy_until_) {
            const std::function<void()> task = std::move(tasks_.front());
            tasks_.pop_front();
            busy_until_ = std::nullopt;
            task();
        }
    }

private:
    Clock& clock_;
    const std::int64_t cost_ns_;
    std::deque<std::function<void()>> tasks_;
    std::optional<Nanos> busy_until_;
};

struct Speeds {
    std::int64_t request_ns = 0;  // At most, of each request to the store.
    std::int64_t task_ns = 0;     // Of each task on the processor.
};

class AutoCodec : public testing::Test {
protected:
    // The engine waits for what it has begun.
    void TearDown() override { executor_->run_all(); }
    // Sixty segments one after the other with memory for `slabs` of them; then everything ends.
    void run(Speeds speeds, std::size_t slabs) {
        world_ = std::make_unique<World>(5, speeds.request_ns);
        executor_ = std::make_unique<SlowExecutor>(world_->clock, speeds.task_ns);
        server_ = std::make_unique<Server>(*world_, quick_options());
        server_->compute = executor_.get();
        Source source(*world_, {2 * mib});
        protect(source);
        std::vector<pipeline::Slab> taken;
        while (server_->segment->free_count() > slabs) {
            taken.push_back(server_->segment->try_take());
        }
        for (int i = 0; i < 60; ++i) {
            source.write(*server_, source.disks[0]);  // Less than 1 MiB: one slab.
            source.point(*server_);
        }
        ASSERT_TRUE(settle());
        EXPECT_EQ(check_points(*world_, source, read_state(*world_, source.machine)), 61U);
    }
    // Segments built so.
    double built(const std::string& codec, const std::string& level) {
        return server_->metrics
            ->counter("causeway_segments_total", {{"codec", codec}, {"level", level}})
            .value();
    }

private:
    void protect(Source& source) {
        server_->start();
        ASSERT_FALSE(server_->hello(source.machine, source.disks).refused.has_value());
        source.sync_all(*server_);
        source.point(*server_);
        ASSERT_TRUE(settle());
    }
    bool settle() {
        const auto done = [this] {
            executor_->run_due();
            return server_->cache.records.empty();
        };
        return server_->run_until(done, 2'000'000);
    }

    std::unique_ptr<World> world_;
    std::unique_ptr<SlowExecutor> executor_;
    std::unique_ptr<Server> server_;
};

TEST_F(AutoCodec, ASlowStoreGetsTheHeavierLevel) {
    run({.request_ns = 200 * ns_per_ms, .task_ns = ns_per_ms / 10}, 1);
    EXPECT_GT(built("zstd", "3"), 40);
    EXPECT_EQ(built("zstd", "-1"), 0);
    EXPECT_EQ(built("lz4", "1"), 0);
}

TEST_F(AutoCodec, ASlowProcessorGetsTheLighterCodec) {
    run({.request_ns = 0, .task_ns = 50 * ns_per_ms}, 1);
    EXPECT_GT(built("lz4", "1"), 40);
    EXPECT_EQ(built("zstd", "3"), 0);
}

TEST_F(AutoCodec, ItIsSoWithRoomForAFewSegmentsToo) {
    run({.request_ns = 400 * ns_per_ms, .task_ns = ns_per_ms / 10}, 3);
    EXPECT_GT(built("zstd", "3"), 20);
    EXPECT_EQ(built("lz4", "1"), 0);
}

TEST_F(AutoCodec, WhereNothingWaitsTheUsualLevelStays) {
    run({.request_ns = 0, .task_ns = 0}, 40);
    EXPECT_EQ(built("zstd", "3") + built("zstd", "-1") + built("lz4", "1"), 0);
    EXPECT_GT(built("zstd", "1"), 40);
}

}  // namespace
}  // namespace cw::upload::test
