// B4: sectors that cannot be read, above all at the end of the log, where nothing behind them tells
// what was there. What was acknowledged is recovered or reported, never cut off as a torn tail.
#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"
#include "tests/fakes/sanitizer.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

const std::string log_file = std::string(directory) + "/spool.log";

using Acknowledged = std::vector<std::pair<StreamKey, Seq>>;

bool is_known_lost(const std::vector<DamagedRange>& damaged, const StreamKey& key, Seq seq) {
    return std::ranges::any_of(damaged, [&](const DamagedRange& range) {
        return range.key == key && range.first <= seq && seq <= range.last;
    });
}

// Not which sequences, but that this history may have lost some, and where.
bool is_suspected(const std::vector<DamagedRange>& damaged, const StreamKey& key) {
    return std::ranges::any_of(damaged, [&](const DamagedRange& range) {
        return range.key == key && raw(range.last) == 0 &&
               range.evidence.find("cannot be read at offset") != std::string::npos;
    });
}

class SpoolUnreadableTest : public ::testing::Test {
protected:
    SpoolUnreadableTest() { set_log_level(LogLevel::error); }
    ~SpoolUnreadableTest() override { set_log_level(LogLevel::info); }

    static StreamKey key(std::uint64_t i) {
        return make_key(static_cast<std::uint8_t>(1 + i % 2), 1);
    }
    std::unique_ptr<Process> start(fakes::SimStorage& storage) {
        return std::make_unique<Process>(storage, clock_, *random_, small_options());
    }
    // One batch per record, `count` of them of two machines in turn, all acknowledged, and a kill
    // before a checkpoint has put down any mark: the last batch is vouched for by nothing.
    Acknowledged fill(fakes::SimStorage& storage, std::uint64_t count) {
        Acknowledged out;
        const auto process = start(storage);
        for (std::uint64_t i = 0; i < count; ++i) {
            Record record = make_write(key(i), Seq{i / 2 + 1}, 2);
            CW_ASSERT(process->spool->append(record));
            for (const StoredRecord& stored : process->settle()) {
                out.emplace_back(stored.record.header.key, stored.record.header.seq);
            }
        }
        storage.kill();
        CW_ASSERT(out.size() == count);
        return out;
    }
    // Where the log's batches lie.
    static std::pair<std::uint64_t, std::uint64_t> extent_of(fakes::SimStorage& storage) {
        const ByteVector bytes = storage.contents(log_file);
        std::uint64_t first = UINT64_MAX, end = 0;
        for (std::uint64_t at = region_bytes; at < bytes.size(); at += block_bytes) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(at));
            if (header && header->offset == at) {
                first = std::min(first, at);
                end = std::max(end, at + header->total_bytes());
            }
        }
        return {first, end};
    }
    // The promise: recovered and readable, or reported; and then the watermark is below it, so that
    // its agent sends it again.
    static void expect_nothing_silent(Process& process, const Acknowledged& acknowledged) {
        ASSERT_FALSE(process.refused) << to_string(*process.refused);
        std::set<std::pair<StreamKey, Seq>> held;
        for (StoredRecord& stored : process.recovered()) {
            // One in the middle of the log may be unreadable: who reads it is told.
            held.emplace(stored.record.header.key, stored.record.header.seq);
            if (process.read_back(stored.lsn, stored.record)) {
                ASSERT_TRUE(payload_is_genuine(stored.record));
            }
        }
        const auto damaged = process.spool->damaged();
        bool lost = false;
        for (const auto& [key, seq] : acknowledged) {
            if (held.contains({key, seq})) {
                continue;
            }
            lost = true;
            // Of a history that only the lost place knew, the place is all that can be told.
            const bool unknown = process.spool->stream_table().find(key) == nullptr;
            EXPECT_TRUE(is_known_lost(damaged, key, seq) ||
                        is_suspected(damaged, unknown ? StreamKey{} : key))
                << to_string(key.machine) << " lost " << raw(seq) << " in silence";
            EXPECT_LT(process.spool->stream_table().state(key).durable, seq);
        }
        EXPECT_TRUE(!lost || process.conditions->standing(Errc::spool_lost_durable));
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
};

TEST_F(SpoolUnreadableTest, B4EveryBlockOfTheTailMayBeUnreadableAndNothingIsCutInSilence) {
    const std::uint64_t batches = 8;
    fakes::SimStorage sample(7);
    fill(sample, batches);
    const auto [first, end] = extent_of(sample);
    for (std::uint64_t at = first; at < end; at += block_bytes) {
        SCOPED_TRACE("block at " + std::to_string(at));
        fakes::SimStorage storage(7);
        const Acknowledged acknowledged = fill(storage, batches);
        storage.fail_reads(log_file, at, block_bytes);
        {
            const auto process = start(storage);
            expect_nothing_silent(*process, acknowledged);
            EXPECT_EQ(storage.unreadable_bytes(log_file), block_bytes) << "it was written over";
            storage.kill();
        }
        storage.fail_reads(log_file, at, block_bytes, 1);  // From now on it can be read.
        const auto process = start(storage);
        expect_nothing_silent(*process, acknowledged);
    }
}

TEST_F(SpoolUnreadableTest, B4ARunOfUnreadableBlocksTakesNoMoreThanWhatLiesThere) {
    const std::uint64_t batches = 8;
    fakes::SimStorage sample(7);
    fill(sample, batches);
    const auto [first, end] = extent_of(sample);
    for (std::uint64_t blocks : {2, 5, 12, 100}) {
        for (std::uint64_t at = first; at < end; at += block_bytes) {
            SCOPED_TRACE(std::to_string(blocks) + " blocks at " + std::to_string(at));
            fakes::SimStorage storage(7);
            const Acknowledged acknowledged = fill(storage, batches);
            const std::uint64_t length = std::min(blocks * block_bytes, end - at);
            storage.fail_reads(log_file, at, length);
            const auto process = start(storage);
            expect_nothing_silent(*process, acknowledged);
            EXPECT_EQ(storage.unreadable_bytes(log_file), length);
        }
    }
}

TEST_F(SpoolUnreadableTest, B4AReadThatSucceedsWhenItIsTriedAgainCostsNothing) {
    const std::uint64_t batches = 8;
    fakes::SimStorage sample(7);
    fill(sample, batches);
    const auto [first, end] = extent_of(sample);
    for (std::uint64_t at = first; at < end; at += block_bytes) {
        SCOPED_TRACE("block at " + std::to_string(at));
        fakes::SimStorage storage(7);
        fill(storage, batches);
        storage.fail_reads(log_file, at, block_bytes, 3);
        const auto process = start(storage);
        EXPECT_EQ(process->recovered().size(), batches);
        EXPECT_TRUE(process->spool->damaged().empty());
        EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
    }
}

TEST_F(SpoolUnreadableTest, B4TheReportNamesThePlaceAndEveryDiskThatMayBeAffected) {
    fakes::SimStorage storage(7);
    fill(storage, 6);
    const auto [first, end] = extent_of(storage);
    const std::uint64_t batch_bytes = (end - first) / 6;
    storage.fail_reads(log_file, end - batch_bytes, batch_bytes);
    const auto process = start(storage);
    const auto damaged = process->spool->damaged();
    ASSERT_FALSE(damaged.empty());
    const std::string place = "region 1 cannot be read at offset " +
                              std::to_string(end - batch_bytes) + ", " +
                              std::to_string(batch_bytes) + " bytes";
    EXPECT_TRUE(std::ranges::any_of(damaged, [&](const DamagedRange& range) {
        return range.key == StreamKey{} && range.evidence.find(place) != std::string::npos;
    }));
    EXPECT_TRUE(is_suspected(damaged, key(0)));
    EXPECT_TRUE(is_suspected(damaged, key(1)));
    EXPECT_EQ(process->recovered().size(), 5U);
    // Each disk has its condition, and loses it.
    const auto standing = process->conditions->list();
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
    EXPECT_EQ(standing.size(), 2U);  // "cache", and "disk …": both machines call theirs the same.
    clock_.advance(60 * ns_per_s);
    process->spool->step(1);
    EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
}

// Or the old record, read again by luck, would be taken for the older copy of a new one.
TEST_F(SpoolUnreadableTest, ALostRecordThatCanBeReadAgainDoesNotHideANewerOne) {
    fakes::SimStorage storage(7);
    fill(storage, 6);
    const auto [first, end] = extent_of(storage);
    const std::uint64_t batch_bytes = (end - first) / 6;
    storage.fail_reads(log_file, end - batch_bytes, batch_bytes);
    {
        const auto process = start(storage);
        EXPECT_EQ(process->recovered().size(), 5U);
        for (std::uint64_t seq = 4; seq <= 6; ++seq) {
            Record record = make_write(key(0), Seq{seq}, 3);
            ASSERT_TRUE(process->spool->append(record));
            ASSERT_EQ(process->settle().size(), 1U);
        }
        storage.kill();
    }
    storage.fail_reads(log_file, end - batch_bytes, batch_bytes, 1);
    const auto process = start(storage);
    std::set<Seq> found;
    for (const StoredRecord& stored : process->recovered()) {
        if (stored.record.header.key == key(0)) {
            EXPECT_TRUE(found.insert(stored.record.header.seq).second);
        }
    }
    EXPECT_EQ(found.size(), 6U);
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{6});
}

TEST_F(SpoolUnreadableTest, B4ARandomPlaceUnderLoadIsReportedOrHoldsNothingAcknowledged) {
    for (std::uint64_t seed = 1; seed <= fakes::seeds(150); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto random = make_seeded_random(seed);
        fakes::SimStorage storage(seed, {.delay_polls_max = 4, .only_path = ""});
        Acknowledged acknowledged;
        {
            const auto process = start(storage);
            std::map<StreamKey, Seq> next_seq;
            for (std::uint64_t i = 10 + random->below(60); i > 0; --i) {
                const StreamKey stream = make_key(static_cast<std::uint8_t>(random->below(3)), 1);
                Seq& last = next_seq[stream];
                Record record = make_write(stream, next(last),
                                           static_cast<std::uint32_t>(1 + random->below(6)));
                last = process->spool->append(record) ? next(last) : last;
                clock_.advance(static_cast<std::int64_t>(random->below(ns_per_s / 4)));
                process->spool->step(1 + random->below(3));
                while (const auto stored = process->spool->take_durable()) {
                    acknowledged.emplace_back(stored->record.header.key, stored->record.header.seq);
                }
            }
            random->below(2) == 0 ? storage.kill() : storage.power_cut();
        }
        const auto [first, end] = extent_of(storage);
        if (end == 0) {
            continue;
        }
        for (std::uint64_t i = 1 + random->below(3); i > 0; --i) {
            const std::uint64_t at =
                first + random->below((end - first) / block_bytes) * block_bytes;
            storage.fail_reads(log_file, at, (1 + random->below(8)) * block_bytes,
                               random->below(3) == 0 ? 1 + random->below(3) : UINT64_MAX);
        }
        const auto process = start(storage);
        expect_nothing_silent(*process, acknowledged);
    }
}

TEST_F(SpoolUnreadableTest, B6AnUnreadableCheckpointIsWorthNoMoreThanADamagedOne) {
    for (const unsigned copy : {0U, 1U}) {
        fakes::SimStorage storage(7);
        const Acknowledged acknowledged = fill(storage, 8);
        storage.fail_reads(log_file, copy * region_bytes / 2 + block_bytes, block_bytes);
        const auto process = start(storage);
        ASSERT_FALSE(process->refused);
        EXPECT_EQ(process->recovered().size(), acknowledged.size());
    }
}

TEST_F(SpoolUnreadableTest, B4AReaderTriesSomeTimesAndThenCallsItDamage) {
    fakes::SimStorage storage(7);
    fill(storage, 2);
    const auto [first, end] = extent_of(storage);
    const auto process = start(storage);
    auto recovered = process->recovered();
    ASSERT_EQ(recovered.size(), 2U);
    StoredRecord& victim = recovered[0];
    storage.fail_reads(log_file, first, (end - first) / 2, 3);
    const auto first_try = process->read_back(victim.lsn, victim.record);
    ASSERT_FALSE(first_try);
    EXPECT_EQ(first_try.error().code, Errc::io_error);
    storage.fail_reads(log_file, first, (end - first) / 2);
    Errc code = Errc::io_error;
    for (int i = 0; i < 10 && code == Errc::io_error; ++i) {
        const auto read = process->read_back(victim.lsn, victim.record);
        ASSERT_FALSE(read);
        code = read.error().code;
    }
    EXPECT_EQ(code, Errc::record_corrupt);
    EXPECT_TRUE(process->read_back(recovered[1].lsn, recovered[1].record));
}

// "Start with an empty one" is the advice for a cache that is not this server's: never give it for
// one that could only not be read.
TEST_F(SpoolUnreadableTest, B4SuperblocksThatCannotBeReadAreNoOtherCachesSuperblocks) {
    fakes::SimStorage storage(3);
    const Acknowledged held = fill(storage, 4);
    storage.fail_reads(log_file, 0, block_bytes, 1);
    storage.fail_reads(log_file, region_bytes / 2, block_bytes, 1);
    {
        const auto process = start(storage);
        ASSERT_TRUE(process->refused);
        EXPECT_EQ(process->refused->code, Errc::io_error);
    }
    const auto process = start(storage);
    ASSERT_FALSE(process->refused);
    EXPECT_EQ(process->recovered().size(), held.size());
}

}  // namespace
}  // namespace cw::cache::testing
