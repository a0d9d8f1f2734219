// Each link of the chain between "the device said so" and "it is still there", alone. Recovery
// secures its tail twice, by writing it again and by a sync, so that a device which lies in one way
// loses nothing: with an honest device each of the two makes the other superfluous, and only these
// tests can tell whether both are there.
#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"
#include "tests/fakes/sanitizer.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

const std::string log_file = std::string(directory) + "/spool.log";

using Held = std::set<std::pair<StreamKey, Seq>>;

class SpoolDurabilityTest : public ::testing::Test {
protected:
    SpoolDurabilityTest() { set_log_level(LogLevel::error); }
    ~SpoolDurabilityTest() override { set_log_level(LogLevel::info); }

    std::unique_ptr<Process> start(fakes::SimStorage& storage) {
        return std::make_unique<Process>(storage, clock_, *random_, small_options());
    }
    static Held held_by(Process& process) {
        Held out;
        for (const StoredRecord& stored : process.recovered()) {
            out.emplace(stored.record.header.key, stored.record.header.seq);
        }
        return out;
    }
    // A kill leaves complete batches in the device's cache only; a restart that sees them promises
    // them (WELCOME names them); then the power goes. True if the restart saw any that were not
    // acknowledged before.
    bool promised_tail_survives(std::uint64_t seed, bool sync_ignored, bool durable_ignored) {
        fakes::SimStorage storage(seed, {.delay_polls_max = 3, .only_path = ""});
        Held acknowledged;
        {
            const auto process = start(storage);
            for (std::uint64_t seq = 1; seq <= 6; ++seq) {
                Record record = make_write(make_key(1, 1), Seq{seq}, 2);
                CW_ASSERT(process->spool->append(record));
                process->spool->step(1);
                while (const auto stored = process->spool->take_durable()) {
                    acknowledged.emplace(stored->record.header.key, stored->record.header.seq);
                }
            }
            storage.kill();
        }
        storage.plan().sync_ignored = sync_ignored;
        storage.plan().durable_ignored = durable_ignored;
        Held promised;
        {
            const auto process = start(storage);
            EXPECT_FALSE(process->refused);
            promised = held_by(*process);
            storage.power_cut();
        }
        storage.plan() = {};
        const auto process = start(storage);
        EXPECT_FALSE(process->refused);
        const Held found = held_by(*process);
        EXPECT_TRUE(std::ranges::includes(found, promised)) << "promised after the restart, lost";
        EXPECT_TRUE(std::ranges::includes(promised, acknowledged));
        return promised.size() > acknowledged.size();
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
};

TEST_F(SpoolDurabilityTest, A4ATailThatIsWrittenAgainNeedsNoSyncOfTheDevice) {
    int seen = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(100); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        seen += promised_tail_survives(seed, true, false) ? 1 : 0;
    }
    EXPECT_GT(seen, 0);
}

TEST_F(SpoolDurabilityTest, A4ATailThatIsSyncedNeedsNoDurableWrites) {
    int seen = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(100); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        seen += promised_tail_survives(seed, false, true) ? 1 : 0;
    }
    EXPECT_GT(seen, 0);
}

// RWF_DSYNC is all that stands behind an acknowledgement: nothing syncs while the log is written.
TEST_F(SpoolDurabilityTest, A3EveryBatchIsDurableByItself) {
    fakes::SimStorage storage(7);
    const auto process = start(storage);
    storage.plan().sync_ignored = true;
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
        Record record = make_write(make_key(1, 1), Seq{seq}, 3);
        ASSERT_TRUE(process->spool->append(record));
        ASSERT_EQ(process->settle().size(), 1U);
        EXPECT_EQ(storage.dirty_sectors(log_file), 0U) << "acknowledged and not on the platter";
    }
    storage.kill();
}

// After a failed sync the kernel calls the pages clean: a second sync would succeed and tell
// nothing. What was in that batch is never acknowledged, and a restart does not see it in the page
// cache (phantoms) but on the platter, or not at all.
TEST_F(SpoolDurabilityTest, B3AFailedSyncIsFinalAndItsPhantomsAreNotBelieved) {
    for (std::uint64_t seed = 1; seed <= fakes::seeds(200); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed);
        Held acknowledged;
        {
            const auto process = start(storage);
            for (std::uint64_t seq = 1; seq <= 4; ++seq) {
                storage.plan().sync_error = seq == 3 ? 10'000 : 0;
                Record record = make_write(make_key(1, 1), Seq{seq}, 4);
                const bool taken = process->spool->append(record);
                EXPECT_EQ(taken, seq <= 3);
                for (const StoredRecord& stored : process->settle(20)) {
                    acknowledged.emplace(stored.record.header.key, stored.record.header.seq);
                }
            }
            EXPECT_EQ(acknowledged.size(), 2U);
            EXPECT_TRUE(process->spool->failed());
            storage.plan().sync_error = 0;
            EXPECT_FALSE(process->spool->close());  // Nor does an orderly end try again.
            storage.kill();
        }
        Held promised;
        {
            const auto process = start(storage);
            ASSERT_FALSE(process->refused);
            promised = held_by(*process);
            EXPECT_TRUE(std::ranges::includes(promised, acknowledged));
            storage.power_cut();
        }
        const auto process = start(storage);
        ASSERT_FALSE(process->refused);
        EXPECT_TRUE(std::ranges::includes(held_by(*process), promised));
    }
}

// A region is written only after a durable checkpoint has named it: else a restart would take
// acknowledged batches whose first one is damaged for what an earlier use has left behind.
TEST_F(SpoolDurabilityTest, DamageAtTheStartOfARegionIsNoticedHoweverFreshItIs) {
    int damaged_starts = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(300); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed, {.delay_polls_max = 6, .only_path = ""});
        const auto random = make_seeded_random(seed);
        Held acknowledged;
        {
            const auto process = start(storage);
            std::uint64_t seq = 1;
            for (std::uint64_t i = 30 + random->below(60); i > 0; --i) {
                Record record = make_write(make_key(1, 1), Seq{seq}, 8);
                seq += process->spool->append(record) ? 1 : 0;
                process->spool->step(2);
                while (const auto stored = process->spool->take_durable()) {
                    acknowledged.emplace(stored->record.header.key, stored->record.header.seq);
                }
            }
            storage.kill();
        }
        // The newest region that begins with an acknowledged batch which others vouch for.
        const ByteVector bytes = storage.contents(log_file);
        std::uint64_t newest = 0, start_at = 0, vouched = 0;
        for (std::uint64_t at = region_bytes; at < bytes.size(); at += block_bytes) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(at));
            if (!header || header->offset != at) {
                continue;
            }
            vouched = std::max(vouched, header->durable_through);
            if (at % region_bytes == 0 && header->number > newest) {
                newest = header->number;
                start_at = at;
            }
        }
        if (newest == 0 || vouched < newest) {
            continue;
        }
        ++damaged_starts;
        storage.overwrite(log_file, start_at, ByteVector(block_bytes));
        const auto process = start(storage);
        ASSERT_FALSE(process->refused);
        const Held found = held_by(*process);
        std::vector<std::pair<StreamKey, Seq>> lost;
        std::ranges::set_difference(acknowledged, found, std::back_inserter(lost));
        EXPECT_FALSE(lost.empty());
        for (const auto& [key, seq] : lost) {
            const bool told =
                std::ranges::any_of(process->spool->damaged(), [&](const DamagedRange& range) {
                    const bool suspected = raw(range.last) == 0;
                    return range.key == key &&
                           (suspected || (range.first <= seq && seq <= range.last));
                });
            EXPECT_TRUE(told) << raw(seq) << " lost in silence";
        }
    }
    EXPECT_GT(damaged_starts, 20);
}

}  // namespace
}  // namespace cw::cache::testing
