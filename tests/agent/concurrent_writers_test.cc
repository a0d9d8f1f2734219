// Three threads write without pause while a disk is read beneath a fence: the first time, after the
// agent was killed (the machine notes what nobody captured, as QEMU's bitmaps do), and after the
// server was gone for so long that the queue overflowed.
#include "tests/agent/harness.h"

#include <semaphore>
#include <shared_mutex>
#include <thread>

namespace cw::agent::test {
namespace {

constexpr std::uint64_t disk_bytes = 8 * mib, write_bytes = 8 * kib;
constexpr int unfinished_max = 12;

// A machine whose writes are captured while there is an agent, and only noted while there is none.
class WritingMachine {
public:
    WritingMachine(MemoryImage& image, std::uint64_t seed) : image_(image) {
        for (std::uint64_t w = 0; w < 3; ++w) {
            writers_.emplace_back([this, w, seed] { write_for_ever(seed * 10 + w); });
        }
    }
    ~WritingMachine() {
        stop_ = true;
        permits_.release(static_cast<std::ptrdiff_t>(writers_.size()));
        for (auto& writer : writers_) {
            writer.join();
        }
    }
    // So many writes more. The writers are never far behind: otherwise a busy machine could let the
    // whole disk be read before they write anything.
    void allow(int writes) {
        unfinished_ += writes;
        permits_.release(writes);
        while (unfinished_ >= unfinished_max) {
            std::this_thread::yield();
        }
    }
    void lose_agent() {
        const std::unique_lock lock(path_);
        capture_ = nullptr;
        const std::lock_guard guard(noted_mutex_);
        noted_.clear();  // All so far was captured.
    }
    // First its writes are captured, then it says what was not.
    void attach(DiskCapture& capture) {
        BlockSet noted;
        {
            const std::unique_lock lock(path_);
            capture_ = &capture;
            const std::lock_guard guard(noted_mutex_);
            noted = noted_;
        }
        allow(unfinished_max);
        ASSERT_TRUE(capture.miss(noted));
    }
    std::unique_lock<std::shared_mutex> pause() { return std::unique_lock(path_); }
    [[nodiscard]] int writes_within_fences() const { return within_fences_; }

private:
    void write_for_ever(std::uint64_t seed) {
        const auto dice = make_seeded_random(seed);
        ByteVector data(write_bytes);
        for (;;) {
            permits_.acquire();
            if (stop_) {
                return;
            }
            dice->fill(MutableBytes(data).first(64));
            write(dice->below(disk_bytes / 4096 - 1) * 4096, data);
            --unfinished_;
        }
    }
    void write(std::uint64_t at, Bytes data) {
        const std::shared_lock lock(path_);
        {
            const std::lock_guard guard(noted_mutex_);
            noted_.add_range(at, data.size());
        }
        if (capture_ == nullptr) {
            CW_ASSERT(image_.write(at, data).has_value());
            return;
        }
        within_fences_ += capture_->fence_open() ? 1 : 0;
        CW_ASSERT(capture_->write(at, data).has_value());
    }

    MemoryImage& image_;
    std::shared_mutex path_;  // Shared: writes. Guards capture_.
    DiskCapture* capture_ = nullptr;
    std::mutex noted_mutex_;
    BlockSet noted_;
    std::counting_semaphore<> permits_{0};
    std::atomic<int> unfinished_{0}, within_fences_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> writers_;
};

struct Protection {
    explicit Protection(std::uint64_t seed)
        : h({.seed = seed, .disk_bytes = disk_bytes, .memory_slabs = 12}),
          machine(*h.images[0], seed) {
        ByteVector noise(disk_bytes);
        h.random->fill(noise);
        CW_ASSERT(h.images[0]->write(0, noise).has_value());
    }
    ~Protection() { machine.lose_agent(); }

    template <typename Done>
    bool write_until(Done&& done) {
        for (int i = 0; i < 20'000; ++i) {
            if (done()) {
                return true;
            }
            machine.allow(static_cast<int>(h.random->below(4)));
            h.steps(1);
        }
        return done();
    }
    // The fence stays open until a good deal was written within it.
    bool protected_while_writing() {
        const int enough = machine.writes_within_fences() + 40;
        h.server.hold_fences = true;
        const bool written = write_until([&] { return machine.writes_within_fences() >= enough; });
        h.server.hold_fences = false;
        h.server.commit();
        return written && write_until([&] {
                   return h.replicator->status().link == LinkState::live &&
                          h.replicator->consistent();
               });
    }
    // A point while the machine holds its breath; committed while it goes on.
    bool point() {
        std::optional<PointId> id;
        {
            const auto pause = machine.pause();
            const auto made = h.point();
            if (!made) {
                return false;
            }
            id = *made;
        }
        return write_until([&] {
            const auto* point = h.replicator->points().find(*id);
            return point != nullptr && point->phase == PointPhase::committed;
        });
    }
    void kill_agent() {
        machine.lose_agent();
        h.kill();
        h.server.crash();
        for (int i = 0; i < 20; ++i) {
            machine.allow(3);
        }
        h.start();
        machine.attach(*h.captures[0]);
    }
    bool lose_server(bool another) {
        h.connector.up = false;
        if (another) {
            h.server.take_over();
        } else {
            h.server.crash();
        }
        const bool overflowed = write_until([&] { return !h.captures[0]->position().logging; });
        h.connector.up = true;
        h.clock.advance(3600 * ns_per_s);
        return overflowed;
    }
    void expect_right(std::size_t points) {
        EXPECT_EQ(h.check_points(), points);
        h.expect_no_violations();
    }
    // Blocks that would be wrong had BASE been laid last, as if it were newer than every write.
    std::size_t wrong_if_laid_last() {
        const auto& cut = h.server.points.back().point.cuts.at(0);
        ModelDisk naive = h.server.disks.at(cut.disk);
        for (auto& piece : naive.pieces) {
            piece.seq = piece.base && raw(piece.end) != 0 ? piece.end : piece.seq;
        }
        const ByteVector got = naive.materialise(cut.cut);
        const ByteVector& wanted = h.at_point.at(h.server.points.back().point.id)[0];
        std::size_t wrong = 0;
        for (std::size_t at = 0; at < got.size(); at += 4096) {
            wrong += std::memcmp(got.data() + at, wanted.data() + at, 4096) != 0 ? 1 : 0;
        }
        return wrong;
    }
    Harness h;
    WritingMachine machine;
};

constexpr std::uint64_t seeds = 20;

TEST(ConcurrentWriters, InitialSyncHasNoWrongBlockForAnySeed) {
    std::size_t wrong_if_laid_last = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        Protection run(seed);
        run.machine.attach(*run.h.captures[0]);
        ASSERT_TRUE(run.protected_while_writing()) << "seed " << seed;
        ASSERT_TRUE(run.point()) << "seed " << seed;
        run.expect_right(1);
        wrong_if_laid_last += run.wrong_if_laid_last();
    }
    EXPECT_GT(wrong_if_laid_last, 0U);  // Or nothing was written that a fence had read before.
}

TEST(ConcurrentWriters, ResumeAfterAKillOfTheAgentHasNoWrongBlockForAnySeed) {
    std::size_t wrong_if_laid_last = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        Protection run(seed);
        run.machine.attach(*run.h.captures[0]);
        ASSERT_TRUE(run.protected_while_writing()) << "seed " << seed;
        ASSERT_TRUE(run.point()) << "seed " << seed;
        run.kill_agent();
        ASSERT_TRUE(run.protected_while_writing()) << "seed " << seed;
        ASSERT_TRUE(run.point()) << "seed " << seed;
        run.expect_right(2);
        EXPECT_EQ(raw(run.h.server.disks.at(run.h.id_of(0)).generation), 1U);
        wrong_if_laid_last += run.wrong_if_laid_last();
    }
    EXPECT_GT(wrong_if_laid_last, 0U);
}

TEST(ConcurrentWriters, ResumeAfterALossOfTheServerHasNoWrongBlockForAnySeed) {
    std::size_t wrong_if_laid_last = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        Protection run(seed);
        run.machine.attach(*run.h.captures[0]);
        ASSERT_TRUE(run.protected_while_writing()) << "seed " << seed;
        ASSERT_TRUE(run.point()) << "seed " << seed;
        ASSERT_TRUE(run.lose_server(seed % 2 == 0)) << "seed " << seed;
        ASSERT_TRUE(run.protected_while_writing()) << "seed " << seed;
        ASSERT_TRUE(run.point()) << "seed " << seed;
        run.expect_right(2);
        wrong_if_laid_last += run.wrong_if_laid_last();
    }
    EXPECT_GT(wrong_if_laid_last, 0U);
}

}  // namespace
}  // namespace cw::agent::test
