// Each link of the chain between "the device said so" and "it is still there", alone. Recovery
// secures its tail twice, by writing it again and by a sync, so that a device which lies in one way
// loses nothing: with an honest device each of the two makes the other superfluous, and only these
// tests can tell whether both are there. For the same reason nothing can tell whether recovery
// reads with O_DIRECT: what only the page cache has (phantoms of a failed sync) lies above the
// mark, and is made real by being written again; together with a missing rewrite it is seen here.
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

    std::unique_ptr<Process> start(fakes::SimStorage& storage,
                                   SpoolOptions options = small_options()) {
        return std::make_unique<Process>(storage, clock_, *random_, std::move(options));
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

    // Every region that begins with a batch is known, with that epoch, to a checkpoint.
    static void check_regions(const ByteVector& bytes, std::set<std::uint64_t>& epochs) {
        std::vector<RegionEntry> named(bytes.size() / region_bytes);
        for (const std::uint64_t slot : {block_bytes, region_bytes / 2 + block_bytes}) {
            const auto found = decode_checkpoint(Bytes(bytes).subspan(slot, region_bytes / 4));
            for (std::size_t i = 0; found && i < named.size(); ++i) {
                named[i].epoch = std::max(named[i].epoch, found->regions[i].epoch);
            }
        }
        for (std::size_t region = 1; region < named.size(); ++region) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(region * region_bytes));
            if (header) {
                EXPECT_LE(header->epoch, named[region].epoch) << "region " << region;
                epochs.insert(header->epoch);
            }
        }
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
            ASSERT_TRUE(process->spool->failed());
            EXPECT_EQ(process->spool->failed()->code, Errc::io_error);
            EXPECT_TRUE(process->conditions->standing(Errc::io_error));
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

TEST_F(SpoolDurabilityTest, B3AFailedDeviceIsShownUntilAStartFindsASoundOne) {
    fakes::SimStorage storage(1);
    {
        const auto process = start(storage);
        storage.plan().sync_error = 10'000;
        Record record = make_write(make_key(1, 1), Seq{1}, 1);
        ASSERT_TRUE(process->spool->append(record));
        process->settle(20);
        ASSERT_TRUE(process->conditions->standing(Errc::io_error));
        storage.kill();
    }
    {
        const auto process = start(storage);
        ASSERT_TRUE(process->refused) << "a start believes no device that fails";
        EXPECT_EQ(process->refused->code, Errc::io_error);
        storage.kill();
    }
    storage.plan().sync_error = 0;
    const auto process = start(storage);
    ASSERT_FALSE(process->refused) << to_string(*process->refused);
    Record record = make_write(
        make_key(1, 1), next(process->spool->stream_table().state(make_key(1, 1)).durable), 1);
    ASSERT_TRUE(process->spool->append(record));
    EXPECT_EQ(process->settle().size(), 1U);
    EXPECT_FALSE(process->conditions->standing(Errc::io_error));
}

// An agent goes on without its spool: the memory of what was on its way there is all it has.
TEST_F(SpoolDurabilityTest, B3AFailedSpoolGivesBackTheMemoryOfWhatItDidNotKeep) {
    fakes::SimStorage storage(1);
    const auto process = start(storage);
    const std::size_t free = slabs().free_count();
    storage.plan().sync_error = 10'000;
    for (std::uint64_t seq = 1; seq <= 6; ++seq) {
        Record record = make_write(make_key(1, 1), Seq{seq}, 4);
        ASSERT_TRUE(process->spool->append(record));
    }
    EXPECT_LT(slabs().free_count(), free);
    EXPECT_TRUE(process->settle(20).empty());
    ASSERT_TRUE(process->spool->failed());
    EXPECT_EQ(slabs().free_count(), free);
}

// Rule 1 of FORMAT.md. Else a restart would take what lies in a region behind a damaged first batch
// for what an earlier use has left there, and lose it in silence.
TEST_F(SpoolDurabilityTest, NoRegionIsWrittenBeforeADurableCheckpointNamesIt) {
    std::uint64_t regions_seen = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(15); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed, {.delay_polls_max = 6, .only_path = ""});
        SpoolOptions options = small_options(12);
        options.batch_bytes_max = 200 * kib;  // A batch fills a region: each waits for the next.
        const auto process = start(storage, options);
        std::uint64_t seq = 1;
        std::set<std::uint64_t> epochs;
        for (int i = 0; i < 60; ++i) {
            Record record = make_write(make_key(1, 1), Seq{seq}, 20);
            seq += process->spool->append(record) ? 1 : 0;
            process->spool->step(2);
            while (const auto stored = process->spool->take_durable()) {
                process->spool->release(stored->lsn);
            }
            check_regions(storage.contents(log_file), epochs);
        }
        regions_seen += epochs.size();
        storage.kill();
    }
    EXPECT_GT(regions_seen, 6 * fakes::seeds(15));
}

// After every acknowledgement, whatever order the device finished its writes in, the power may go.
TEST_F(SpoolDurabilityTest, B11_WhatIsAcknowledgedIsOnThePlatterInAnyOrderOfCompletions) {
    // So large that several batches are under way at once.
    SpoolOptions options = small_options();
    options.region_bytes = mib;
    options.size_bytes = 16 * mib;
    options.batch_bytes_max = 600 * kib;
    std::uint64_t compared = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(8); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed, {.delay_polls_max = 8, .only_path = ""});
        const auto process = start(storage, options);
        ASSERT_FALSE(process->refused);
        Held acknowledged;
        std::uint64_t seq = 1;
        for (int i = 0; i < 1000 && acknowledged.size() < 150; ++i) {
            bool taken = true;
            while (taken && seq <= 200) {
                Record record = make_write(make_key(1, 1), Seq{seq}, 8);
                taken = process->spool->append(record);
                seq += taken ? 1 : 0;
            }
            process->spool->step(1);
            const std::size_t before = acknowledged.size();
            while (const auto stored = process->spool->take_durable()) {
                acknowledged.emplace(stored->record.header.key, stored->record.header.seq);
            }
            if (acknowledged.size() == before) {
                continue;
            }
            fakes::SimStorage copy(seed);
            storage.copy_to(copy);
            copy.power_cut();
            const auto next = start(copy, options);
            ASSERT_FALSE(next->refused);
            ASSERT_TRUE(std::ranges::includes(held_by(*next), acknowledged));
            EXPECT_TRUE(next->spool->damaged().empty());
            ++compared;
        }
        storage.kill();
    }
    EXPECT_GE(compared, 2 * fakes::seeds(8));
}

// Beyond the promise, and yet never silent: what is gone below something that is there is named.
TEST_F(SpoolDurabilityTest, B10_ADeviceThatLiedIsFoundOutAndNothingWrongIsGivenBack) {
    int found_out = 0;
    for (std::uint64_t seed = 1; seed <= fakes::seeds(40); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed);
        Held acknowledged;
        {
            const auto process = start(storage);
            for (std::uint64_t seq = 1; seq <= 16; ++seq) {
                storage.plan().sync_ignored = storage.plan().durable_ignored = seq > 4;
                Record record = make_write(make_key(1, 1), Seq{seq}, 1);
                ASSERT_TRUE(process->spool->append(record));
                for (const StoredRecord& stored : process->settle()) {
                    acknowledged.emplace(stored.record.header.key, stored.record.header.seq);
                }
            }
            storage.power_cut();
        }
        ASSERT_EQ(acknowledged.size(), 16U);
        storage.plan() = {};
        const auto process = start(storage);
        ASSERT_FALSE(process->refused);
        const std::vector<DamagedRange> damaged = process->spool->damaged();
        Held found;
        for (StoredRecord& stored : process->recovered()) {
            found.emplace(stored.record.header.key, stored.record.header.seq);
            if (process->read_back(stored.lsn, stored.record)) {
                EXPECT_TRUE(payload_is_genuine(stored.record));
            }
        }
        ASSERT_FALSE(found.empty());  // The four that were written before it lied.
        bool gap = false;
        for (const auto& [key, seq] : acknowledged) {
            if (!found.contains({key, seq}) && seq < found.rbegin()->second) {
                gap = true;
                EXPECT_TRUE(std::ranges::any_of(damaged, [&](const DamagedRange& range) {
                    return range.key == key && range.first <= seq && seq <= range.last;
                })) << raw(seq);
            }
        }
        EXPECT_TRUE(!gap || process->conditions->standing(Errc::spool_lost_durable));
        found_out += gap ? 1 : 0;
        const StreamKey key = make_key(1, 1);
        for (Seq next_seq = next(process->spool->stream_table().state(key).durable);
             next_seq <= Seq{16};
             next_seq = next(process->spool->stream_table().state(key).durable)) {
            Record again = make_write(key, next_seq, 1);
            ASSERT_TRUE(process->spool->append(again));
            process->settle();
        }
        clock_.advance(60 * ns_per_s);
        process->spool->step(1);
        EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
    }
    EXPECT_GT(found_out, 0);
}

// The fake keeps a name only if its directory was synced, or by chance.
TEST_F(SpoolDurabilityTest, B15_TheFilesOfACacheThatWasJustMadeOutliveThePower) {
    for (std::uint64_t seed = 1; seed <= fakes::seeds(20); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        fakes::SimStorage storage(seed);
        {
            const auto process = start(storage);
            Record record = make_write(make_key(1, 1), Seq{1}, 1);
            ASSERT_TRUE(process->spool->append(record));
            ASSERT_EQ(process->settle().size(), 1U);
            storage.power_cut();
        }
        SpoolOptions options = small_options();
        options.may_create = false;
        const auto process = start(storage, options);
        ASSERT_FALSE(process->refused) << to_string(*process->refused);
        EXPECT_EQ(process->recovered().size(), 1U);
    }
}

}  // namespace
}  // namespace cw::cache::testing
