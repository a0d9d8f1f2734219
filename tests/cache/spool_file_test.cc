// The spool on real files, through both real disks.
#include "tests/cache/spool_harness.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::cache::testing {
namespace {

class SpoolFileTest : public ::testing::TestWithParam<bool> {
protected:
    SpoolFileTest()
        : path_(::testing::TempDir() + "cw_spool_" + std::to_string(getpid()) +
                (GetParam() ? "_uring" : "_posix")),
          clock_(make_system_clock()),
          random_(make_seeded_random(5)),
          conditions_(*clock_),
          metrics_(make_metric_registry()) {
        std::filesystem::remove_all(path_);
    }
    ~SpoolFileTest() override { std::filesystem::remove_all(path_); }

    static std::unique_ptr<Disk> make_disk() {
        if (GetParam()) {
            auto disk = make_uring_disk(64);
            return disk ? std::move(*disk) : nullptr;
        }
        return make_posix_disk();
    }
    std::unique_ptr<Spool> open(Disk& disk) {
        SpoolOptions options;
        options.path = path_;
        options.size_bytes = 32 * mib;
        options.region_bytes = 4 * mib;
        options.batch_bytes_max = mib;
        auto spool = Spool::open(options, {disk, *clock_, *random_, conditions_, *metrics_});
        EXPECT_TRUE(spool) << to_string(spool.error());
        return spool ? std::move(*spool) : nullptr;
    }
    // Appends sequences [first, last] of one disk and waits until they are durable.
    static std::vector<StoredRecord> write(Spool& spool, Disk& disk, std::uint64_t first,
                                           std::uint64_t last) {
        std::vector<StoredRecord> out;
        std::uint64_t seq = first;
        for (int i = 0; i < 100'000 && out.size() <= last - first; ++i) {
            if (seq <= last) {
                Record record = make_write(make_key(1, 1), Seq{seq}, 20);
                seq += spool.append(record) ? 1 : 0;
            }
            if (spool.step(16) == pipeline::Progress::blocked) {
                disk.wait(ns_per_ms);
            }
            while (auto stored = spool.take_durable()) {
                out.push_back(std::move(*stored));
            }
        }
        return out;
    }

    std::string path_;
    std::unique_ptr<Clock> clock_;
    std::unique_ptr<Random> random_;
    Conditions conditions_;
    std::unique_ptr<MetricRegistry> metrics_;
};

TEST_P(SpoolFileTest, WritesRecoversAndReadsBack) {
    const auto disk = make_disk();
    if (!disk) {
        GTEST_SKIP() << "the kernel refuses io_uring";
    }
    {
        const auto spool = open(*disk);
        ASSERT_TRUE(spool);
        ASSERT_EQ(write(*spool, *disk, 1, 100).size(), 100U);
        ASSERT_TRUE(spool->close());
    }
    const auto spool = open(*disk);
    ASSERT_TRUE(spool);
    auto reader = SpoolReader::open(*spool, *disk);
    ASSERT_TRUE(reader);
    std::size_t count = 0;
    while (auto stored = spool->next_recovered()) {
        ++count;
        Record& record = stored->record;
        record.slabs[0] = slabs().try_take();
        std::optional<Result<void>> outcome;
        (*reader)->read(stored->lsn, record, [&](Result<void> r) { outcome = std::move(r); });
        for (int i = 0; i < 10'000 && !outcome; ++i) {
            if ((*reader)->poll() == 0) {
                disk->wait(ns_per_ms);
            }
        }
        ASSERT_TRUE(outcome && *outcome);
        EXPECT_TRUE(payload_is_genuine(record));
    }
    EXPECT_EQ(count, 100U);
}

TEST_P(SpoolFileTest, ReadsOnAnotherThreadWhileRegionsAreRecycledAndMoved) {
    const auto disk = make_disk(), reading_disk = make_disk();
    if (!disk || !reading_disk) {
        GTEST_SKIP() << "the kernel refuses io_uring";
    }
    const auto spool = open(*disk);
    ASSERT_TRUE(spool);
    auto reader = SpoolReader::open(*spool, *reading_disk);
    ASSERT_TRUE(reader);
    // Every tenth record stays live; the others are released at once.
    std::vector<std::pair<Lsn, RecordHeader>> kept;
    for (const StoredRecord& stored : write(*spool, *disk, 1, 40)) {
        raw(stored.record.header.seq) % 10 == 0 ? kept.push_back({stored.lsn, stored.record.header})
                                                : spool->release(stored.lsn);
    }
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> good{0}, bad{0};
    std::thread thread([&] {
        for (std::size_t i = 0; !stop.load(); ++i) {
            const auto& [lsn, header] = kept[i % kept.size()];
            Record record;
            record.header = header;
            record.slabs[0] = slabs().try_take();
            bool done = false;
            (*reader)->read(lsn, record, [&](Result<void> result) {
                done = true;
                ++(result && payload_is_genuine(record) ? good : bad);
            });
            while (!done) {
                if ((*reader)->poll() == 0) {
                    reading_disk->wait(ns_per_ms);
                }
            }
        }
    });
    for (std::uint64_t round = 0; round < 25; ++round) {
        for (const StoredRecord& stored : write(*spool, *disk, 41 + round * 40, 80 + round * 40)) {
            spool->release(stored.lsn);
        }
    }
    stop = true;
    thread.join();
    EXPECT_GT(good.load(), 0U);
    EXPECT_EQ(bad.load(), 0U);
    EXPECT_GT(metrics_->counter("causeway_cache_moved_bytes_total").value(), 0);
}

INSTANTIATE_TEST_SUITE_P(Disks, SpoolFileTest, ::testing::Bool(),
                         [](const auto& disk) { return disk.param ? "Uring" : "Posix"; });

}  // namespace
}  // namespace cw::cache::testing
