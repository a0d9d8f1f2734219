// What the spool has taken and not begun to write can be taken back: it was never acknowledged.
#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

class SpoolWithdrawTest : public ::testing::Test {
protected:
    SpoolWithdrawTest() { restart(); }

    void restart() {
        process_.reset();
        SpoolOptions options = small_options(8);
        options.throttle_free = 0;
        options.batch_bytes_max = 4 * mib;
        process_ = std::make_unique<Process>(storage_, clock_, *random_, std::move(options));
        ASSERT_FALSE(process_->refused) << to_string(*process_->refused);
        spool_ = process_->spool.get();
    }
    // As many as the spool takes, in one go. Three fit into a region, and the rest of each counts
    // as room all the same, so that more are taken than will ever find any. The last sequence.
    Seq overfill(const StreamKey& key) {
        Seq last{};
        for (Record record = make_write(key, next(last), 16); spool_->append(record);
             record = make_write(key, next(last), 16)) {
            last = next(last);
        }
        return last;
    }
    void release(const std::vector<StoredRecord>& stored) {
        for (const StoredRecord& one : stored) {
            spool_->release(one.lsn);
        }
    }
    bool take(Record record) { return spool_->append(record); }
    const Stream& stream(const StreamKey& key) { return *spool_->stream_table().find(key); }

    const StreamKey key_ = make_key(1, 1), other_ = make_key(2, 2);
    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::SimStorage storage_{7};
    std::unique_ptr<Process> process_;
    Spool* spool_ = nullptr;
};

TEST_F(SpoolWithdrawTest, WhatFindsNoRoomIsGivenBackAndMayBeAppendedAgain) {
    const Seq last = overfill(key_);
    const auto stored = process_->settle();
    ASSERT_FALSE(spool_->idle()) << "all of it found room: nothing is shown here";
    const Seq durable = stored.back().record.header.seq;

    const auto left = spool_->withdraw(key_.machine);
    ASSERT_EQ(left.size(), raw(last) - raw(durable));
    for (std::size_t i = 0; i < left.size(); ++i) {
        EXPECT_EQ(left[i].header.seq, Seq{raw(durable) + 1 + i});
        EXPECT_TRUE(payload_is_genuine(left[i]));
    }
    EXPECT_TRUE(spool_->idle());
    EXPECT_EQ(stream(key_).appended, stream(key_).durable);
    EXPECT_EQ(stream(key_).durable.seq, durable);
    EXPECT_TRUE(spool_->withdraw(key_.machine).empty());

    release(stored);
    process_->settle();
    clock_.advance(ns_per_s);
    spool_->step(10);
    EXPECT_FALSE(process_->conditions->standing(Errc::spool_full));
    for (std::uint64_t seq = raw(durable) + 1; seq <= raw(last); ++seq) {
        ASSERT_TRUE(take(make_write(key_, Seq{seq}, 16)));
    }
    EXPECT_EQ(process_->settle().size(), left.size());
    EXPECT_EQ(stream(key_).durable.seq, last);
}

TEST_F(SpoolWithdrawTest, RoomAndReservationsAreAsIfItHadNotBeenTaken) {
    ASSERT_TRUE(take(make_write(key_, Seq{1}, 16)));
    spool_->step(1);  // On its way.
    ASSERT_TRUE(spool_->reserve(256 * kib));
    const SpoolUsage before = spool_->usage();
    Record record = make_write(key_, Seq{2}, 16);
    const std::uint64_t bytes = payload_bytes(record.header);
    ASSERT_TRUE(spool_->append(record));
    EXPECT_EQ(spool_->usage().room, before.room - bytes);
    spool_->withdraw(key_.machine);
    EXPECT_EQ(spool_->usage().room, before.room);
    EXPECT_EQ(spool_->usage().reserved, before.reserved - bytes) << "its sender's promise was used";
}

TEST_F(SpoolWithdrawTest, WhatIsOnItsWayStaysAndBecomesDurable) {
    ASSERT_TRUE(take(make_control(key_, RecordType::resync_begin, Seq{1})));
    process_->settle();
    ASSERT_TRUE(take(make_base(key_, Seq{1}, 7, 1)));
    ASSERT_TRUE(take(make_write(key_, Seq{2}, 1)));
    spool_->step(1);
    ASSERT_TRUE(take(make_base(key_, Seq{1}, 8, 1)));
    ASSERT_TRUE(take(make_control(key_, RecordType::resync_end, Seq{3})));
    ASSERT_TRUE(take(make_write(other_, Seq{1}, 1)));
    ASSERT_EQ(stream(key_).appended.seq, Seq{3});

    EXPECT_EQ(spool_->withdraw(key_.machine).size(), 2U);
    EXPECT_EQ(stream(key_).appended.seq, Seq{2});
    EXPECT_TRUE(stream(key_).appended.fence_open) << "its end was taken back";
    EXPECT_EQ(spool_->stream_table().check(make_base(key_, Seq{1}, 7, 1).header),
              Arrival::duplicate);
    EXPECT_TRUE(take(make_base(key_, Seq{1}, 8, 1)));
    EXPECT_TRUE(take(make_control(key_, RecordType::resync_end, Seq{3})));
    process_->settle();
    EXPECT_EQ(stream(key_).appended, stream(key_).durable);
    EXPECT_EQ(stream(key_).durable.seq, Seq{3});
    EXPECT_EQ(stream(other_).durable.seq, Seq{1}) << "another machine's are not touched";
}

// Recovery bounds by these numbers what a loss may have taken.
TEST_F(SpoolWithdrawTest, LeavesNoHoleInTheNumbersOfRecords) {
    for (std::uint64_t seq = 1; seq <= 5; ++seq) {
        ASSERT_TRUE(take(make_write(key_, Seq{seq}, 1)));
    }
    EXPECT_EQ(spool_->withdraw(key_.machine).size(), 5U);
    ASSERT_TRUE(take(make_write(key_, Seq{1}, 1)));
    const auto stored = process_->settle();
    ASSERT_EQ(stored.size(), 1U);
    EXPECT_EQ(stored[0].lsn, Lsn{1});
    storage_.power_cut();
    restart();
    EXPECT_EQ(process_->recovered().size(), 1U);
    EXPECT_TRUE(spool_->damaged().empty());
    EXPECT_EQ(stream(key_).durable.seq, Seq{1});
}

}  // namespace
}  // namespace cw::cache::testing
