#include "tests/cache/spool_harness.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

class SpoolTest : public ::testing::Test {
protected:
    std::unique_ptr<Process> start(SpoolOptions options = small_options()) {
        return std::make_unique<Process>(storage_, clock_, *random_, std::move(options));
    }
    // Takes a step whenever the queue of unsynced batches is full.
    static void append(Process& process, Record record) {
        bool taken = false;
        for (int i = 0; i < 100 && !(taken = process.spool->append(record)); ++i) {
            process.spool->step(10);
        }
        ASSERT_TRUE(taken);
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::SimStorage storage_{7};
};

TEST_F(SpoolTest, GivesBackDurableRecordsInOrderWithTheirPayload) {
    const auto process = start();
    ASSERT_FALSE(process->refused) << to_string(*process->refused);
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
        append(*process, make_write(make_key(1, 1), Seq{seq}, 2));
    }
    const auto durable = process->settle();
    ASSERT_EQ(durable.size(), 20U);
    for (std::size_t i = 0; i < durable.size(); ++i) {
        EXPECT_EQ(raw(durable[i].record.header.seq), i + 1);
        EXPECT_TRUE(durable[i].record.has_data() && payload_is_genuine(durable[i].record));
    }
    EXPECT_EQ(process->spool->streams().at(0).durable, Seq{20});
}

TEST_F(SpoolTest, RecoversEveryAcknowledgedRecordAfterPowerCut) {
    {
        const auto process = start();
        for (std::uint64_t seq = 1; seq <= 30; ++seq) {
            append(*process, make_write(make_key(1, 1), Seq{seq}, 3));
        }
        ASSERT_EQ(process->settle().size(), 30U);
        storage_.power_cut();
    }
    const auto process = start();
    ASSERT_FALSE(process->refused) << to_string(*process->refused);
    auto recovered = process->recovered();
    ASSERT_EQ(recovered.size(), 30U);
    for (StoredRecord& stored : recovered) {
        ASSERT_TRUE(process->read_back(stored.lsn, stored.record));
        EXPECT_TRUE(payload_is_genuine(stored.record));
    }
    EXPECT_TRUE(process->spool->damaged().empty());
}

TEST_F(SpoolTest, ReopenedTenTimesWithoutWritesIsTheSameAndUsesNoSpace) {
    std::uint64_t free_bytes = 0;
    {
        const auto process = start();
        for (std::uint64_t seq = 1; seq <= 30; ++seq) {
            append(*process, make_write(make_key(1, 1), Seq{seq}, 3));
        }
        ASSERT_EQ(process->settle().size(), 30U);
        storage_.kill();
    }
    for (int i = 0; i < 10; ++i) {
        const auto process = start();
        ASSERT_EQ(process->recovered().size(), 30U) << i;
        if (i > 0) {
            EXPECT_EQ(process->spool->usage().free, free_bytes);
        }
        free_bytes = process->spool->usage().free;
        storage_.kill();
    }
}

TEST_F(SpoolTest, ForgetsReleasedRecordsAfterACleanClose) {
    {
        const auto process = start();
        for (std::uint64_t seq = 1; seq <= 10; ++seq) {
            append(*process, make_write(make_key(1, 1), Seq{seq}, 1));
        }
        for (const StoredRecord& stored : process->settle()) {
            process->spool->release(stored.lsn);
        }
        ASSERT_TRUE(process->spool->close());
    }
    const auto process = start();
    EXPECT_TRUE(process->recovered().empty());
    EXPECT_EQ(process->spool->streams().at(0).durable, Seq{10});
}

TEST_F(SpoolTest, RecyclesItsRegionsForEver) {
    const auto process = start();
    std::uint64_t seq = 1;
    for (int round = 0; round < 400; ++round) {
        for (int i = 0; i < 4; ++i) {
            append(*process, make_write(make_key(1, 1), Seq{seq++}, 8));
        }
        for (const StoredRecord& stored : process->settle()) {
            process->spool->release(stored.lsn);
        }
    }
    EXPECT_EQ(process->spool->usage().live, 0U);
    EXPECT_FALSE(process->spool->failed());
}

// Agents stop for want of credit before anything has to be refused: nobody would ever say it.
TEST_F(SpoolTest, B1IsFullWhenNothingMoreCanBePromisedThoughNothingWasRefused) {
    const auto process = start();
    const auto full = [&] {
        clock_.advance(2 * ns_per_s);
        process->spool->step(10);
        return process->conditions->standing(Errc::spool_full);
    };
    EXPECT_FALSE(full());
    const std::uint64_t room = process->spool->usage().room;
    ASSERT_TRUE(process->spool->reserve(room));  // All of it, and not a byte too much.
    EXPECT_TRUE(full());
    // A little room is given and taken all the time: the condition does not flap with it.
    const std::uint64_t little = process->spool->usage().capacity / 50;
    process->spool->unreserve(little);
    EXPECT_TRUE(full());
    process->spool->unreserve(little / 2 + block_bytes);
    EXPECT_FALSE(full());
    process->spool->unreserve(room);
    EXPECT_FALSE(full());
}

// It may be all that lets go of what fills the cache: the agent's repair of what was lost in it.
TEST_F(SpoolTest, G9AFenceIsTakenThoughThereIsNoRoomForData) {
    SpoolOptions options = small_options();
    options.throttle_free = 0.2;
    const auto process = start(options);
    std::uint64_t seq = 1;
    for (Record next = make_write(make_key(1, 1), Seq{seq}, 8); process->spool->append(next);
         next = make_write(make_key(1, 1), Seq{++seq}, 8)) {
        process->settle();
    }
    ASSERT_TRUE(process->spool->reserve(process->spool->usage().room));  // To the last byte.
    EXPECT_TRUE(process->conditions->standing(Errc::spool_full));
    Record fence = make_control(make_key(1, 1), RecordType::resync_begin, Seq{seq});
    EXPECT_TRUE(process->spool->append(fence));
    EXPECT_EQ(process->settle().size(), 1U);
    Record behind = make_write(make_key(1, 1), Seq{seq + 1}, 8);
    EXPECT_FALSE(process->spool->append(behind)) << "data still finds no room";
}

// Where the limit leaves less than a region, all the room there is may end up as dead bytes in the
// open one, which nothing would ever seal: full for ever with nothing in it.
TEST_F(SpoolTest, G11FillsAndDrainsForEverWithLessRoomThanARegion) {
    SpoolOptions options = small_options(8);
    options.throttle_free = 0.6;
    const auto process = start(options);
    const std::uint64_t room = process->spool->usage().room;
    ASSERT_LT(room, region_bytes);
    std::uint64_t seq = 1;
    for (int cycle = 0; cycle < 50; ++cycle) {
        SCOPED_TRACE("cycle " + std::to_string(cycle));
        const std::uint64_t first = seq;
        std::vector<Lsn> held;
        for (int i = 0; i < 20; ++i) {
            Record record = make_write(make_key(1, 1), Seq{seq}, 8);
            seq += process->spool->append(record) ? 1 : 0;
            for (const StoredRecord& stored : process->settle()) {
                held.push_back(stored.lsn);
            }
        }
        ASSERT_GT(seq, first) << "nothing is taken any more";
        EXPECT_TRUE(process->conditions->standing(Errc::spool_full));
        for (const Lsn lsn : held) {
            process->spool->release(lsn);
        }
        process->settle();
        process->spool->step(10);
        EXPECT_FALSE(process->conditions->standing(Errc::spool_full));
    }
}

TEST_F(SpoolTest, RefusesWhenFullSaysSoAndGoesOnAfterRelease) {
    const auto process = start();
    std::vector<Lsn> held;
    std::uint64_t seq = 1;
    bool refused = false;
    for (int i = 0; i < 2000 && !refused; ++i) {
        Record record = make_write(make_key(1, 1), Seq{seq}, 8);
        refused = !process->spool->append(record);
        seq += refused ? 0 : 1;
        for (const StoredRecord& stored : process->settle()) {
            held.push_back(stored.lsn);
        }
    }
    ASSERT_TRUE(refused);
    EXPECT_TRUE(process->conditions->standing(Errc::spool_full));
    EXPECT_FALSE(process->spool->reserve(64 * kib));
    EXPECT_EQ(held.size(), seq - 1);  // Everything taken became durable all the same.
    for (const Lsn lsn : held) {
        process->spool->release(lsn);
    }
    process->settle();
    clock_.advance(ns_per_s);
    process->spool->step(10);
    EXPECT_FALSE(process->conditions->standing(Errc::spool_full));
    append(*process, make_write(make_key(1, 1), Seq{seq}, 8));
    EXPECT_EQ(process->settle().size(), 1U);
}

TEST_F(SpoolTest, MovesTheLastLiveRecordsSoThatASlowMachineCannotPinTheLog) {
    const auto process = start();
    const StreamKey slow = make_key(1, 1), fast = make_key(2, 2);
    std::vector<StoredRecord> pinned;
    std::uint64_t seq = 1;
    for (std::uint64_t round = 1; round <= 300; ++round) {
        if (round <= 15 * 3) {  // Some in every region of the first lap.
            append(*process, make_write(slow, Seq{round}, 1));
        }
        for (int i = 0; i < 8; ++i) {
            append(*process, make_write(fast, Seq{seq++}, 4));
        }
        for (StoredRecord& stored : process->settle()) {
            if (stored.record.header.key == slow) {
                stored.record.drop_data();
                pinned.push_back(std::move(stored));
            } else {
                process->spool->release(stored.lsn);
            }
        }
        process->settle(20);
    }
    ASSERT_EQ(pinned.size(), 45U);
    EXPECT_GT(process->metrics->counter("causeway_cache_moved_bytes_total").value(), 0);
    for (StoredRecord& stored : pinned) {
        const auto read = process->read_back(stored.lsn, stored.record);
        ASSERT_TRUE(read) << to_string(read.error());
        EXPECT_TRUE(payload_is_genuine(stored.record));
        stored.record.drop_data();
    }
}

// No two of them fit one region: moved, each would be alone again, and the device busy for ever.
TEST_F(SpoolTest, G9RecordsLargerThanHalfARegionAreNotMovedRoundAndRound) {
    const auto process = start(small_options(9));
    constexpr std::uint32_t blocks = region_bytes / block_bytes / 2 + 1;
    for (std::uint64_t seq = 1;; ++seq) {
        Record record = make_write(make_key(1, 1), Seq{seq}, blocks);
        if (!process->spool->append(record)) {
            break;
        }
        process->settle();
    }
    for (int i = 0; i < 1000; ++i) {
        process->spool->step(100);
        clock_.advance(ns_per_ms);
    }
    EXPECT_EQ(process->metrics->counter("causeway_cache_moved_bytes_total").value(), 0);
    EXPECT_TRUE(process->spool->idle());
}

TEST_F(SpoolTest, NeverRecyclesARegionThatSomebodyReadsFrom) {
    const auto process = start();
    append(*process, make_write(make_key(1, 1), Seq{1}, 4));
    auto first = process->settle();
    ASSERT_EQ(first.size(), 1U);
    Record record;
    record.header = first[0].record.header;
    record.slabs[0] = slabs().try_take();
    std::optional<Result<void>> outcome;
    process->reader->read(first[0].lsn, record, [&](Result<void> r) { outcome = std::move(r); });
    process->spool->release(first[0].lsn);
    for (std::uint64_t seq = 2; seq < 300; ++seq) {  // Around the whole file, several times.
        append(*process, make_write(make_key(1, 1), Seq{seq}, 8));
        for (const StoredRecord& stored : process->settle()) {
            process->spool->release(stored.lsn);
        }
    }
    for (int i = 0; i < 10 && !outcome; ++i) {
        process->reader->poll();
    }
    ASSERT_TRUE(outcome && *outcome);
    EXPECT_TRUE(payload_is_genuine(record));
}

TEST_F(SpoolTest, B2AFailedWriteIsShownAndNothingOfItIsAcknowledged) {
    {
        const auto process = start();
        append(*process, make_write(make_key(1, 1), Seq{1}, 1));
        ASSERT_EQ(process->settle().size(), 1U);
        storage_.plan().write_error = 10'000;
        append(*process, make_write(make_key(1, 1), Seq{2}, 1));
        EXPECT_TRUE(process->settle(50).empty());
        ASSERT_TRUE(process->spool->failed());
        EXPECT_TRUE(process->conditions->standing(Errc::io_error));
        EXPECT_EQ(process->spool->streams().at(0).durable, Seq{1});
        storage_.plan().write_error = 0;
        storage_.kill();
    }
    const auto process = start();  // What the failed write left behind is judged anew.
    ASSERT_FALSE(process->refused) << to_string(*process->refused);
    EXPECT_GE(process->spool->streams().at(0).durable, Seq{1});
    EXPECT_FALSE(process->conditions->standing(Errc::io_error));
}

TEST_F(SpoolTest, AFailedSyncAcknowledgesNothingAndIsNotRetried) {
    const auto process = start();
    append(*process, make_write(make_key(1, 1), Seq{1}, 1));
    ASSERT_EQ(process->settle().size(), 1U);
    storage_.plan().sync_error = 10'000;
    append(*process, make_write(make_key(1, 1), Seq{2}, 1));
    EXPECT_TRUE(process->settle(50).empty());
    ASSERT_TRUE(process->spool->failed());
    EXPECT_EQ(process->spool->failed()->code, Errc::io_error);
    EXPECT_TRUE(process->conditions->standing(Errc::io_error));
    storage_.plan().sync_error = 0;
    Record record = make_write(make_key(1, 1), Seq{3}, 1);
    EXPECT_FALSE(process->spool->append(record));
    EXPECT_TRUE(process->settle(50).empty());
    EXPECT_EQ(process->spool->streams().at(0).durable, Seq{1});
}

TEST_F(SpoolTest, B13_RaisesAndClearsSpoolSlow) {
    fakes::SimStorage storage(3, {}, &clock_);
    Process process(storage, clock_, *random_, small_options());
    storage.plan().durable_delay_ns = 3 * ns_per_s;
    append(process, make_write(make_key(1, 1), Seq{1}, 1));
    process.spool->step(10);
    clock_.advance(2 * ns_per_s + ns_per_ms);
    process.spool->step(10);
    EXPECT_TRUE(process.conditions->standing(Errc::spool_slow));
    clock_.advance(2 * ns_per_s);
    EXPECT_EQ(process.settle().size(), 1U);
    clock_.advance(11 * ns_per_s);
    process.spool->step(10);
    EXPECT_FALSE(process.conditions->standing(Errc::spool_slow));
}

TEST_F(SpoolTest, KeepsFencesAndSuperChunksOverARestart) {
    const StreamKey key = make_key(1, 1);
    {
        const auto process = start();
        append(*process, make_control(key, RecordType::resync_begin, Seq{1}));
        for (const std::uint32_t ordinal : {0U, 1U, 2U, 7U}) {
            append(*process, make_base(key, Seq{1}, ordinal, 2));
        }
        for (const StoredRecord& stored : process->settle()) {
            process->spool->release(stored.lsn);
        }
        ASSERT_TRUE(process->spool->close());
    }
    const auto process = start();
    const StreamState state = process->spool->streams().at(0);
    EXPECT_EQ(state.durable, Seq{1});
    EXPECT_EQ(state.fence, Seq{1});
    EXPECT_EQ(state.base_ordinals, (std::vector<std::uint32_t>{0, 1, 2, 7}));
    append(*process, make_control(key, RecordType::resync_end, Seq{2}));
    process->settle();
    EXPECT_EQ(process->spool->streams().at(0).fence, Seq{});
    EXPECT_EQ(process->spool->stream_table().check(make_base(key, Seq{1}, 9, 1).header),
              Arrival::stale);
}

TEST_F(SpoolTest, ReservationsKeepSpaceForTheirOwners) {
    const auto process = start();
    const SpoolUsage usage = process->spool->usage();
    ASSERT_TRUE(process->spool->reserve(usage.free / 2));
    EXPECT_FALSE(process->spool->reserve(usage.free / 2));
    std::uint64_t seq = 1;
    while (true) {  // Consumes the reservation first, then what is left.
        Record record = make_write(make_key(1, 1), Seq{seq}, 8);
        if (!process->spool->append(record)) {
            break;
        }
        ++seq;
        process->settle();
    }
    EXPECT_EQ(process->spool->usage().reserved, 0U);
}

}  // namespace
}  // namespace cw::cache::testing
