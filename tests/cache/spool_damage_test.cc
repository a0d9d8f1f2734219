// Damage to acknowledged data: it is found, named, and its neighbours are kept.
#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"
#include "tests/fakes/sanitizer.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

const std::string log_file = std::string(directory) + "/spool.log";

class SpoolDamageTest : public ::testing::Test {
protected:
    SpoolDamageTest() { set_log_level(LogLevel::error); }
    ~SpoolDamageTest() override { set_log_level(LogLevel::info); }

    std::unique_ptr<Process> start(SpoolOptions options = small_options()) {
        return std::make_unique<Process>(storage_, clock_, *random_, std::move(options));
    }
    // One batch per record: `count` of them of two machines in turn, all acknowledged.
    void fill(std::uint64_t count, bool close) {
        const auto process = start();
        for (std::uint64_t i = 0; i < count; ++i) {
            Record record = make_write(key(i), Seq{i / 2 + 1}, 2);
            ASSERT_TRUE(process->spool->append(record));
            ASSERT_EQ(process->settle().size(), 1U);
        }
        if (close) {
            ASSERT_TRUE(process->spool->close());
        }
        storage_.kill();
    }
    static StreamKey key(std::uint64_t i) {
        return make_key(static_cast<std::uint8_t>(1 + i % 2), 1);
    }
    // Where each batch starts, by number, as the file has it.
    std::map<std::uint64_t, std::uint64_t> batches() {
        const ByteVector bytes = storage_.contents(log_file);
        std::map<std::uint64_t, std::uint64_t> out;
        for (std::uint64_t at = region_bytes; at < bytes.size(); at += block_bytes) {
            const auto header = decode_batch_header(Bytes(bytes).subspan(at));
            if (header && header->offset == at) {
                out[header->number] = at;
            }
        }
        return out;
    }
    // Its agent sends again what is missing of a stream that had `last`.
    void send_again(Process& process, const StreamKey& key, Seq last) {
        for (Seq durable = process.spool->stream_table().state(key).durable; durable < last;
             durable = process.spool->stream_table().state(key).durable) {
            Record record = make_write(key, next(durable), 2);
            ASSERT_TRUE(process.spool->append(record));
            process.settle();
        }
        clock_.advance(60 * ns_per_s);
        process.spool->step(1);
    }
    static bool names(const std::vector<DamagedRange>& damaged, const StreamKey& key, Seq seq) {
        return std::ranges::any_of(damaged, [&](const DamagedRange& range) {
            return range.key == key && range.first <= seq && seq <= range.last;
        });
    }

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::SimStorage storage_{7};
};

// Machine 1 has sequences 1 … 10 in batches 1, 3, 5 …; machine 2 in batches 2, 4, 6 ….
TEST_F(SpoolDamageTest, B8_ALostHeaderInTheMiddleIsReportedAndItsNeighboursAreKept) {
    fill(20, false);
    storage_.overwrite(log_file, batches().at(9), ByteVector(block_bytes));
    const auto process = start();
    ASSERT_FALSE(process->refused);
    EXPECT_EQ(process->recovered().size(), 19U);
    const auto damaged = process->spool->damaged();
    EXPECT_TRUE(names(damaged, key(0), Seq{5}));
    EXPECT_FALSE(names(damaged, key(1), Seq{5}));  // The other machine is not touched.
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{4});
    EXPECT_EQ(process->spool->stream_table().state(key(1)).durable, Seq{10});
    send_again(*process, key(0), Seq{10});
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{10});
    EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
}

TEST_F(SpoolDamageTest, DamageInTheRegionBeingWrittenIsToldFromATornTailByWhatLiesBehindIt) {
    fill(10, false);
    storage_.overwrite(log_file, batches().at(5), ByteVector(block_bytes));
    const auto process = start();
    EXPECT_EQ(process->recovered().size(), 9U);
    EXPECT_TRUE(names(process->spool->damaged(), key(4), Seq{3}));
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
}

// Batch 4 was torn, 5 was not: 5 is dropped, and must not come back when a new 4 is written.
TEST_F(SpoolDamageTest, WhatWasDroppedAsATornTailNeverComesBack) {
    SpoolId id;
    {
        const auto process = start();
        id = process->spool->id();
        storage_.kill();
    }
    Checkpoint checkpoint{.spool = id,
                          .generation = 9,
                          .durable_through = 1,
                          .next_batch = 10,
                          .epoch = 1,
                          .next_lsn = Lsn{10},
                          .released_below = Lsn{1},
                          .regions = std::vector<RegionEntry>(16),
                          .streams = {}};
    checkpoint.regions[1] = {
        .state = RegionState::sealed, .epoch = 1, .first_batch = 1, .end_batch = 10};
    storage_.overwrite(log_file, region_bytes / 2 + block_bytes,
                       encode_checkpoint(checkpoint, 64 * kib));
    std::uint64_t at = region_bytes;
    for (std::uint64_t number = 1; number <= 5; ++number) {
        const Record record = make_control(key(0), RecordType::resize, Seq{number});
        const BatchHeader header{.spool = id,
                                 .offset = at,
                                 .epoch = 1,
                                 .number = number,
                                 .durable_through = std::min<std::uint64_t>(number - 1, 1),
                                 .moved_before = 0,
                                 .records = {{Lsn{number}, false, record.header}}};
        ByteVector bytes(block_bytes);
        encode_batch_header(header, bytes);
        storage_.overwrite(log_file, at, bytes);
        // Of number 4 the table did not land.
        storage_.overwrite(
            log_file, at + block_bytes,
            number == 4 ? ByteVector(block_bytes, std::byte{1}) : ByteVector(block_bytes));
        at += header.total_bytes();
    }
    {
        const auto process = start();
        ASSERT_FALSE(process->refused);
        EXPECT_EQ(process->recovered().size(), 3U);
        Record record = make_control(key(0), RecordType::resize, Seq{4});
        ASSERT_TRUE(process->spool->append(record));
        ASSERT_EQ(process->settle().size(), 1U);
        storage_.kill();
    }
    const auto process = start();
    EXPECT_EQ(process->recovered().size(), 4U);
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{4});
}

// What lay there counts for nothing after the first start, so its region is free, and may hold
// something else already. Only the checkpoint can tell the second start.
TEST_F(SpoolDamageTest, A2ALossIsReportedByEveryStartUntilItIsRepaired) {
    fill(4, true);
    for (const auto& [number, at] : batches()) {
        storage_.overwrite(log_file, at, ByteVector(block_bytes));
    }
    for (int starts = 0; starts < 3; ++starts) {
        SCOPED_TRACE(starts);
        const auto process = start();
        ASSERT_FALSE(process->refused);
        for (std::uint64_t i = 0; i < 4; ++i) {
            EXPECT_TRUE(names(process->spool->damaged(), key(i), Seq{i / 2 + 1}));
        }
        EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
        storage_.kill();
    }
    {
        const auto process = start();
        for (std::uint64_t i = 0; i < 4; ++i) {
            Record again = make_write(key(i), Seq{i / 2 + 1}, 2);
            ASSERT_TRUE(process->spool->append(again));
        }
        process->settle();
        clock_.advance(60 * ns_per_s);
        process->spool->step(1);
        EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
        ASSERT_TRUE(process->spool->close());
    }
    const auto process = start();
    EXPECT_TRUE(process->spool->damaged().empty());
    EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
}

// All of its history was lost, so nobody knows it, and nobody forgets it either.
TEST_F(SpoolDamageTest, A2ALossEndsWhenANewerHistoryOfTheDiskBegins) {
    fill(4, false);
    for (const auto& [number, at] : batches()) {
        storage_.flip_bit(log_file, at + block_bytes + 5, 1);  // Of the table.
    }
    {
        const auto process = start();
        ASSERT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
        storage_.kill();
    }
    {
        const auto process = start();
        ASSERT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
        for (std::uint8_t machine = 1; machine <= 2; ++machine) {
            process->spool->settle_stream(make_key(machine, 1, 2), Seq{}, Seq{});
        }
        clock_.advance(60 * ns_per_s);
        process->spool->step(1);
        EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
        ASSERT_TRUE(process->spool->close());
    }
    const auto process = start();
    EXPECT_TRUE(process->spool->damaged().empty());
}

TEST_F(SpoolDamageTest, WhatTheVaultHoldsIsNotMissed) {
    fill(20, false);
    storage_.overwrite(log_file, batches().at(9), ByteVector(block_bytes));
    const auto process = start();
    process->spool->settle_stream(key(0), Seq{7}, Seq{});
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{10});
}

TEST_F(SpoolDamageTest, ADamagedTableNamesExactlyItsRecord) {
    fill(20, true);
    storage_.flip_bit(log_file, batches().at(10) + block_bytes + 100, 3);
    const auto process = start();
    EXPECT_EQ(process->recovered().size(), 19U);
    ASSERT_EQ(process->spool->damaged().size(), 1U);
    EXPECT_EQ(process->spool->damaged()[0].key, key(9));
    EXPECT_EQ(process->spool->damaged()[0].first, Seq{5});
    EXPECT_EQ(process->spool->damaged()[0].last, Seq{5});
    EXPECT_EQ(process->spool->stream_table().state(key(9)).durable, Seq{4});
}

TEST_F(SpoolDamageTest, B5_AChangedBitOfAHeaderIsALossAndIsShown) {
    fill(6, true);
    const std::uint64_t header = batches().at(3);
    for (const std::uint64_t byte : {0, 9, 40, 90}) {
        SCOPED_TRACE("byte " + std::to_string(byte));
        storage_.flip_bit(log_file, header + byte, 2);
        {
            const auto process = start();
            ASSERT_FALSE(process->refused);
            EXPECT_EQ(process->recovered().size(), 5U);
            EXPECT_TRUE(names(process->spool->damaged(), key(0), Seq{2}));
            EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
            storage_.kill();
        }
        storage_.flip_bit(log_file, header + byte, 2);
    }
    storage_.flip_bit(log_file, header, 2);
    const auto process = start();
    ASSERT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
    send_again(*process, key(0), Seq{3});
    EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
}

TEST_F(SpoolDamageTest, B5_DamagedDataIsFoundWhenItIsRead) {
    fill(4, true);
    storage_.flip_bit(log_file, batches().at(2) + 2 * block_bytes + 5000, 1);
    const auto process = start();
    auto recovered = process->recovered();
    ASSERT_EQ(recovered.size(), 4U);
    for (StoredRecord& stored : recovered) {
        const auto read = process->read_back(stored.lsn, stored.record);
        const bool victim =
            stored.record.header.key == key(1) && raw(stored.record.header.seq) == 1;
        EXPECT_EQ(read.has_value(), !victim);
        if (victim) {
            EXPECT_EQ(read.error().code, Errc::record_corrupt);
        }
    }
}

TEST_F(SpoolDamageTest, B9_TheLastBatchIsATornTailUnlessTheMarkCoversIt) {
    fill(20, false);
    storage_.overwrite(log_file, batches().at(20), ByteVector(block_bytes));
    {
        const auto process = start();  // No mark was put down: it may never have been acknowledged.
        EXPECT_EQ(process->recovered().size(), 19U);
        EXPECT_TRUE(process->spool->damaged().empty());
        EXPECT_TRUE(process->conditions->list().empty());
        ASSERT_TRUE(process->spool->close());
    }
    storage_.overwrite(log_file, batches().at(19), ByteVector(block_bytes));
    const auto process = start();  // Now it was promised.
    EXPECT_EQ(process->recovered().size(), 18U);
    EXPECT_TRUE(names(process->spool->damaged(), key(0), Seq{10}));
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
}

TEST_F(SpoolDamageTest, AnIdleSpoolPutsItsMarkDown) {
    {
        const auto process = start();
        Record record = make_write(key(0), Seq{1}, 1);
        ASSERT_TRUE(process->spool->append(record));
        process->settle();
        clock_.advance(2 * ns_per_s);
        process->spool->step(1);
        process->spool->step(1);
        process->spool->step(1);
        storage_.kill();
    }
    storage_.overwrite(log_file, batches().at(1), ByteVector(block_bytes));
    const auto process = start();
    EXPECT_TRUE(names(process->spool->damaged(), key(0), Seq{1}));
}

TEST_F(SpoolDamageTest, EitherCheckpointSufficesAndNoneIsAFullScan) {
    fill(20, true);
    const std::uint64_t slots[] = {block_bytes, region_bytes / 2 + block_bytes};
    for (const std::uint64_t slot : slots) {
        storage_.overwrite(log_file, slot, ByteVector(block_bytes));
        const auto process = start();
        ASSERT_FALSE(process->refused);
        EXPECT_EQ(process->recovered().size(), 20U);
        EXPECT_TRUE(process->spool->damaged().empty());
        storage_.kill();
    }
    for (const std::uint64_t slot : slots) {
        storage_.overwrite(log_file, slot, ByteVector(block_bytes));
    }
    const auto process = start();
    ASSERT_FALSE(process->refused);
    EXPECT_EQ(process->recovered().size(), 20U);
    EXPECT_EQ(process->spool->stream_table().state(key(0)).durable, Seq{10});
}

TEST_F(SpoolDamageTest, OneSuperblockSufficesAndIsRepaired) {
    fill(4, true);
    storage_.overwrite(log_file, 0, ByteVector(block_bytes));
    {
        const auto process = start();
        ASSERT_FALSE(process->refused);
        EXPECT_EQ(process->recovered().size(), 4U);
    }
    storage_.overwrite(log_file, region_bytes / 2, ByteVector(block_bytes));
    EXPECT_FALSE(start()->refused);
    storage_.overwrite(log_file, 0, ByteVector(block_bytes));
    storage_.overwrite(log_file, region_bytes / 2, ByteVector(block_bytes));
    const auto process = start();
    ASSERT_TRUE(process->refused);
    EXPECT_EQ(process->refused->code, Errc::spool_tampered);
}

// The device may put any write where the newest batch lies, for which nothing vouches yet: all that
// can wait does.
TEST_F(SpoolDamageTest, B6ASuperblockIsRepairedWhenACheckpointVouchesForWhatWasFound) {
    fill(4, true);
    storage_.overwrite(log_file, region_bytes / 2, ByteVector(block_bytes));
    storage_.take_astray();
    storage_.plan().write_lost = 10'000;  // To be told of each.
    ASSERT_FALSE(start()->refused);
    const auto written = storage_.take_astray();
    const auto is_repair = [](const fakes::AstrayWrite& write) {
        return write.offset == region_bytes / 2;
    };
    const auto is_checkpoint = [](const fakes::AstrayWrite& write) {
        return peek_checkpoint_bytes(write.head).has_value();
    };
    const auto repair = std::ranges::find_if(written, is_repair);
    ASSERT_NE(repair, written.end());
    EXPECT_TRUE(std::any_of(written.begin(), repair, is_checkpoint));
}

TEST_F(SpoolDamageTest, B14_AnEmptyDirectoryIsAMissingMountAndNothingIsMadeThere) {
    fill(4, true);
    SpoolOptions elsewhere = small_options();
    elsewhere.path = "/not-mounted";
    elsewhere.may_create = false;
    const auto process = start(elsewhere);
    ASSERT_TRUE(process->refused);
    EXPECT_EQ(process->refused->code, Errc::spool_tampered);
    EXPECT_FALSE(storage_.exists("/not-mounted/spool.log"));
    EXPECT_FALSE(storage_.exists("/not-mounted/spool.id"));
}

TEST_F(SpoolDamageTest, B17_AnotherServersCacheIsRefusedAndLeftAsItIs) {
    fill(4, true);
    const ByteVector before = storage_.contents(log_file);
    SpoolOptions other = small_options();
    other.expected_id.bytes[3] = std::byte{9};
    {
        const auto process = start(other);
        ASSERT_TRUE(process->refused);
        EXPECT_EQ(process->refused->code, Errc::spool_tampered);
        EXPECT_EQ(process->spool, nullptr);  // Nothing of it can be uploaded.
    }
    EXPECT_EQ(storage_.contents(log_file), before);
    EXPECT_EQ(start()->recovered().size(), 4U);  // Its own server finds all of it.
}

TEST_F(SpoolDamageTest, RefusesAnotherSizeThanItWasMadeWith) {
    fill(4, true);
    const auto refusal = [&](SpoolOptions options) {
        const auto process = start(std::move(options));
        return process->refused ? process->refused->code : Errc::internal;
    };
    EXPECT_EQ(refusal(small_options(24)), Errc::config_invalid);
    SpoolOptions odd = small_options();
    odd.size_bytes += block_bytes;
    EXPECT_EQ(refusal(odd), Errc::usage);
}

TEST_F(SpoolDamageTest, B16_AFileThatSomebodyEditedOrDeletedIsRefusedAndNeverMadeAnew) {
    fill(4, true);
    const auto is_tampered = [&] {
        const auto process = start();
        return process->refused && process->refused->code == Errc::spool_tampered;
    };
    // Both superblocks: one alone is repaired from the other.
    storage_.flip_bit(log_file, 16, 3);
    storage_.flip_bit(log_file, region_bytes / 2 + 16, 3);
    const ByteVector edited = storage_.contents(log_file);
    EXPECT_TRUE(is_tampered());
    EXPECT_EQ(storage_.contents(log_file), edited);  // Evidence, and perhaps still of use.
    storage_.erase(log_file);
    EXPECT_TRUE(is_tampered());
    EXPECT_FALSE(storage_.exists(log_file));
}

TEST_F(SpoolDamageTest, NoSpaceForTheFileIsAnErrorAndLeavesNothingHalfDone) {
    storage_.plan().capacity_bytes = mib;
    {
        const auto process = start();
        ASSERT_TRUE(process->refused);
        EXPECT_EQ(process->refused->code, Errc::config_invalid);
    }
    EXPECT_FALSE(storage_.exists(std::string(log_file) + ".new"));
    storage_.plan().capacity_bytes = UINT64_MAX;
    const auto process = start();
    ASSERT_FALSE(process->refused);
}

TEST_F(SpoolDamageTest, B7_AMisdirectedWriteIsDetectedAtBothPlaces) {
    fill(20, false);
    const auto at = batches();
    const ByteVector bytes = storage_.contents(log_file);
    // Batch 15 landed on batch 5's place: 15 is stale there, 5 is gone.
    const std::uint64_t length = at.at(16) - at.at(15);
    storage_.overwrite(log_file, at.at(5), Bytes(bytes).subspan(at.at(15), length));
    storage_.overwrite(log_file, at.at(15), ByteVector(length));
    const auto process = start();
    EXPECT_EQ(process->recovered().size(), 18U);
    const auto damaged = process->spool->damaged();
    EXPECT_TRUE(names(damaged, key(4), Seq{3}));
    EXPECT_TRUE(names(damaged, key(14), Seq{8}));
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable));
    send_again(*process, key(4), Seq{7});
    EXPECT_TRUE(process->conditions->standing(Errc::spool_lost_durable)) << "8 is missing still";
    send_again(*process, key(14), Seq{10});
    EXPECT_FALSE(process->conditions->standing(Errc::spool_lost_durable));
}

TEST_F(SpoolDamageTest, AFullDiskOfRandomDamageNeverYieldsAWrongRecord) {
    for (std::uint64_t seed = 1; seed <= fakes::seeds(150); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto random = make_seeded_random(seed);
        fakes::SimStorage storage(seed, {.write_lost = 300,
                                         .write_misdirected = 300,
                                         .write_flipped = 300,
                                         .delay_polls_max = 3,
                                         .only_path = "spool.log"});
        for (int round = 0; round < 3; ++round) {
            Process process(storage, clock_, *random, small_options(12));
            if (process.refused) {
                break;  // Both superblocks or so: refused, which is right.
            }
            for (StoredRecord& stored : process.recovered()) {
                if (process.read_back(stored.lsn, stored.record)) {
                    ASSERT_TRUE(payload_is_genuine(stored.record));
                }
                process.spool->release(stored.lsn);
            }
            const StreamKey stream = make_key(1, static_cast<std::uint8_t>(round + 1));
            for (std::uint64_t i = 0; i < 40; ++i) {
                const Stream* known = process.spool->stream_table().find(stream);
                Record record = make_write(stream, known ? next(known->appended.seq) : Seq{1}, 3);
                process.spool->append(record);
                process.settle(4);
            }
            storage.power_cut();
        }
    }
}

}  // namespace
}  // namespace cw::cache::testing
