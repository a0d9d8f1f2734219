// A fence that ended over a hole would make points of a disk that never was: sequences alone do not
// tell, because BASE consumes none.
#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

const std::string log_file = std::string(directory) + "/spool.log";

class SpoolFenceLossTest : public ::testing::Test {
protected:
    SpoolFenceLossTest() { set_log_level(LogLevel::error); }
    ~SpoolFenceLossTest() override { set_log_level(LogLevel::info); }

    static StreamKey key(std::uint64_t i) {
        return make_key(static_cast<std::uint8_t>(1 + i % 2), 1);
    }
    std::unique_ptr<Process> start(fakes::SimStorage& storage) {
        return std::make_unique<Process>(storage, clock_, *random_, small_options());
    }
    // Machine 1: a fence with three super-chunks, one batch each; ended or not.
    void fill_fence(fakes::SimStorage& storage, bool ended) {
        const auto process = start(storage);
        const auto put = [&](Record record) {
            ASSERT_TRUE(process->spool->append(record));
            ASSERT_EQ(process->settle().size(), 1U);
        };
        put(make_write(key(1), Seq{1}, 1));
        put(make_control(key(0), RecordType::resync_begin, Seq{1}));
        for (std::uint32_t ordinal = 0; ordinal < 3; ++ordinal) {
            put(make_base(key(0), Seq{1}, ordinal, 2));
        }
        if (ended) {
            put(make_control(key(0), RecordType::resync_end, Seq{2}));
        }
        put(make_write(key(1), Seq{2}, 1));
        storage.kill();
    }
    static std::map<std::uint64_t, std::uint64_t> batches(fakes::SimStorage& storage) {
        const ByteVector bytes = storage.contents(log_file);
        std::map<std::uint64_t, std::uint64_t> out;
        for (std::uint64_t at = region_bytes; at < bytes.size(); at += block_bytes) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(at));
            if (header && header->offset == at) {
                out[header->number] = at;
            }
        }
        return out;
    }
    // Batch 4 holds super-chunk 1.
    void expect_distrusted(fakes::SimStorage& storage) {
        for (int restart = 0; restart < 3; ++restart) {
            const auto process = start(storage);
            ASSERT_FALSE(process->refused);
            for (const StoredRecord& stored : process->recovered()) {
                EXPECT_NE(stored.record.header.type, RecordType::resync_end);
            }
            const StreamState state = process->spool->stream_table().state(key(0));
            EXPECT_EQ(state.durable, Seq{1});
            EXPECT_EQ(state.fence, Seq{1});
            EXPECT_TRUE(state.base_lost);
            EXPECT_FALSE(process->spool->stream_table().state(key(1)).base_lost);
            EXPECT_EQ(process->spool->stream_table().state(key(1)).durable, Seq{2});
            storage.kill();
        }
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
};

TEST_F(SpoolFenceLossTest, G5AFenceThatEndedOverALostHeaderIsNotBelieved) {
    fakes::SimStorage storage(7);
    fill_fence(storage, true);
    storage.overwrite(log_file, batches(storage).at(4), ByteVector(block_bytes));
    expect_distrusted(storage);
}

TEST_F(SpoolFenceLossTest, G5AFenceThatEndedOverADamagedRecordIsNotBelieved) {
    fakes::SimStorage storage(7);
    fill_fence(storage, true);
    storage.flip_bit(log_file, batches(storage).at(4) + block_bytes + 40, 2);
    expect_distrusted(storage);
}

TEST_F(SpoolFenceLossTest, G5AFenceThatEndedOverAnUnreadablePlaceIsNotBelieved) {
    fakes::SimStorage storage(7);
    fill_fence(storage, true);
    storage.fail_reads(log_file, batches(storage).at(4), block_bytes);
    expect_distrusted(storage);
}

TEST_F(SpoolFenceLossTest, G5AnOpenFenceThatLostWhatWasAcknowledgedMustBeginAnew) {
    fakes::SimStorage storage(7);
    fill_fence(storage, false);
    storage.overwrite(log_file, batches(storage).at(4), ByteVector(block_bytes));
    expect_distrusted(storage);
    const auto process = start(storage);
    Record again = make_control(key(0), RecordType::resync_begin, Seq{5});
    ASSERT_TRUE(process->spool->append(again));
    process->settle();
    EXPECT_FALSE(process->spool->stream_table().state(key(0)).base_lost);
    EXPECT_EQ(process->spool->stream_table().state(key(0)).fence, Seq{5});
}

// The checkpoint that a start writes says that the fence has ended; that is no reason to believe
// it.
TEST_F(SpoolFenceLossTest, G5AFenceWhoseEndACheckpointKnowsIsNotBelievedOverDamageEither) {
    for (const bool header_lost : {false, true}) {
        fakes::SimStorage storage(7);
        fill_fence(storage, true);
        {
            const auto process = start(storage);
            ASSERT_FALSE(process->refused);
            storage.kill();
        }
        const std::uint64_t batch = batches(storage).at(4);
        if (header_lost) {
            storage.overwrite(log_file, batch, ByteVector(block_bytes));
        } else {
            storage.flip_bit(log_file, batch + block_bytes + 40, 2);
        }
        expect_distrusted(storage);
    }
}

TEST_F(SpoolFenceLossTest, AFenceBesideTheDamageIsBelieved) {
    fakes::SimStorage storage(7);
    fill_fence(storage, true);
    storage.overwrite(log_file, batches(storage).at(1), ByteVector(block_bytes));  // Before it.
    const auto process = start(storage);
    const StreamState state = process->spool->stream_table().state(key(0));
    EXPECT_EQ(state.durable, Seq{2});
    EXPECT_EQ(state.fence, Seq{});
    EXPECT_FALSE(state.base_lost);
}

}  // namespace
}  // namespace cw::cache::testing
