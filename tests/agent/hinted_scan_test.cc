// Scans that hints narrow, against a server that keeps everything.
#include "agent/scan/scan_source.h"
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

class FakeHints final : public DirtyHints {
public:
    explicit FakeHints(Taken& next) : next_(next) {}
    Taken take() override { return std::exchange(next_, Taken{}); }

private:
    Taken& next_;
};

class HintedScan : public testing::Test {
protected:
    void make(std::int64_t full_every_ns, Result<std::unique_ptr<DirtyHints>> hints) {
        freezer_ = std::make_unique<Freezer>(
            Freezer::Options{.pre = {"true"}, .marker_path = h_.directory + "/frozen"}, *h_.disk,
            *clock_);
        std::vector<ScanSource::Disk> disks;
        disks.push_back({h_.captures[0].get(), h_.directory + "/none", h_.directory + "/clone",
                         DigestTable::open(*h_.disk, *h_.random, h_.directory + "/digests",
                                           h_.options.disk_bytes, true)
                             .value(),
                         std::make_unique<ScanHints>(std::move(hints), full_every_ns, h_.clock)});
        scan_ = std::make_unique<ScanSource>(ScanSource::Options{.try_clones = false},
                                             *h_.replicator, *freezer_, std::move(disks));
        ASSERT_TRUE(h_.run_until_protected());
    }
    void make(std::int64_t full_every_ns = 3600 * ns_per_s) {
        make(full_every_ns, std::make_unique<FakeHints>(next_));
    }
    // Runs a scan to its point, which is committed.
    void scan() {
        ASSERT_TRUE(scan_->begin("t"));
        const Nanos give_up = clock_->boot() + 60 * ns_per_s;
        while (scan_->running() && clock_->boot() < give_up) {
            scan_->step();
            h_.steps(1);
            ::usleep(200);  // A real child process runs meanwhile.
        }
        ASSERT_TRUE(scan_->outcome() && *scan_->outcome());
        const PointId point = **scan_->outcome();
        h_.at_point.emplace(point, std::vector<ByteVector>{h_.images[0]->copy()});
        ASSERT_TRUE(h_.run_until(
            [&] { return h_.replicator->points().find(point)->phase == PointPhase::committed; }));
    }
    void change(std::uint64_t at, std::uint8_t fill, bool hinted = true) {
        const ByteVector data(4096, std::byte{fill});
        ASSERT_TRUE(h_.images[0]->write(at, data));
        if (hinted) {
            next_.blocks.add_range(at, data.size());
        }
    }
    const ScanHints::Report& report() { return scan_->disks()[0].hints->report(); }

    Harness h_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    DirtyHints::Taken next_;
    std::unique_ptr<Freezer> freezer_;
    std::unique_ptr<ScanSource> scan_;
};

TEST_F(HintedScan, ReadsEverythingOnceAndThenOnlyWhatWasHinted) {
    make();
    scan();
    EXPECT_EQ(report().full_scans, 1U);
    EXPECT_EQ(report().last_bytes, h_.options.disk_bytes);
    change(mib, 1);
    change(9 * mib, 2);
    change(9 * mib + 3 * map_block_bytes, 3);
    scan();
    EXPECT_EQ(report().narrow_scans, 1U);
    EXPECT_EQ(report().last_bytes, 3 * map_block_bytes);
    change(h_.options.disk_bytes - 4096, 4);
    scan();
    EXPECT_EQ(report().last_bytes, map_block_bytes);
    EXPECT_TRUE(report().on);
    EXPECT_EQ(h_.check_points(), 3U);
    h_.expect_no_violations();
}

TEST_F(HintedScan, AfterALossReadsEverything) {
    make();
    scan();
    change(mib, 1, false);
    next_.complete = false;
    scan();
    EXPECT_EQ(report().full_scans, 2U);
    EXPECT_TRUE(report().on);
    EXPECT_EQ(h_.check_points(), 2U);
    h_.expect_no_violations();
}

TEST_F(HintedScan, AChangeThatNoHintNamedEndsTheHints) {
    make(0);  // Every scan is full, and a check.
    scan();
    change(mib, 1);
    scan();
    EXPECT_TRUE(report().on);
    change(2 * mib, 2, false);
    scan();
    EXPECT_FALSE(report().on);
    EXPECT_NE(report().reason.find("65536 changed bytes"), std::string::npos) << report().reason;
    change(3 * mib, 3, false);
    scan();
    EXPECT_EQ(report().full_scans, 4U);
    EXPECT_EQ(h_.check_points(), 4U);
    h_.expect_no_violations();
}

TEST_F(HintedScan, WithoutHintsReadsEverythingAndSaysWhy) {
    make(3600 * ns_per_s, fail(Errc::not_found, "no tracepoint"));
    scan();
    scan();
    EXPECT_FALSE(report().on);
    EXPECT_EQ(report().reason, "no tracepoint");
    EXPECT_EQ(report().full_scans, 2U);
}

}  // namespace
}  // namespace cw::agent::test
