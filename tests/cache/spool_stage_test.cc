#include "cache/spool_stage.h"

#include "cache/spool_format.h"
#include "tests/cache/spool_harness.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

class SpoolStageTest : public ::testing::Test {
protected:
    SpoolStageTest() { restart(); }

    // A new process on the same storage.
    void restart(SpoolOptions options = small_options()) {
        stage_.reset();
        process_.reset();
        process_ = std::make_unique<Process>(storage_, clock_, *random_, std::move(options));
        ASSERT_FALSE(process_->refused);
        SpoolStagePorts ports{.records = {&records_},
                              .spooled = {&spooled_},
                              .commands = &commands_,
                              .opened = &opened_,
                              .releases = &releases_,
                              .stored = &stored_,
                              .wake_reactor = [](std::uint32_t) {},
                              .wake_control = [] {},
                              .wake_stored = [] {},
                              .payload_taken = [this](std::uint64_t bytes) { taken_ += bytes; },
                              .set_room = [this](std::uint64_t bytes) { room_ = bytes; }};
        stage_ = std::make_unique<SpoolStage>(*process_->spool, *process_->disk, clock_,
                                              std::move(ports),
                                              SpoolStageOptions{.resident_bytes_max = 4 * mib});
    }
    void open(SessionId session, Seq committed = {}, Seq open_fence = {}) {
        commands_.try_push(SpoolCommand(OpenStreams{key_.machine, session, 0, 1}));
        run();
        commands_.try_push(SpoolCommand(SettleStreams{{{key_, committed, open_fence}}}));
    }
    void send(Record record, SessionId session = SessionId{1}) {
        record.header.session = session;
        ASSERT_TRUE(records_.try_push(record));
    }
    Record make_point(std::uint8_t id, Seq cut) const {
        pipeline::Point point;
        point.id.bytes[0] = std::byte{id};
        point.cuts.push_back({key_.disk, key_.generation, cut, {}});
        const ByteVector bytes = pipeline::encode_point(point);
        Record record;
        record.header.key.machine = key_.machine;
        record.header.type = RecordType::point;
        record.header.table_bytes = static_cast<std::uint32_t>(align_up(bytes.size(), block_bytes));
        record.table = pipeline::TableBuffer(record.header.table_bytes);
        std::ranges::copy(bytes, record.table.bytes().begin());
        record.header.table_crc = crc32c(record.table.bytes());
        return record;
    }
    void run() {
        for (int i = 0; i < 50; ++i) {
            stage_->step(16);
        }
    }
    // The one history as a new session finds it.
    StreamState found_by(SessionId session) {
        StreamsOpened answer;
        while (opened_.try_pop(answer)) {
        }
        commands_.try_push(SpoolCommand(OpenStreams{key_.machine, session, 0, 1}));
        run();
        EXPECT_TRUE(opened_.try_pop(answer));
        EXPECT_EQ(answer.streams.size(), 1U);
        return answer.streams.empty() ? StreamState{} : answer.streams[0];
    }
    // The machine's session leaves a cache so full that some of what the log has taken finds no
    // room: three writes fit into a region, and the rest of each counts as room all the same. A
    // point lies behind them. Returns how many became durable.
    std::uint64_t overfill(SessionId session) {
        SpoolOptions options = small_options();
        options.throttle_free = 0;
        options.batch_bytes_max = 4 * mib;  // The log takes them all before it writes the first.
        restart(std::move(options));
        open(session);
        const std::uint64_t room = process_->spool->usage().room;
        std::uint64_t seq = 0, bytes = 0;
        for (Record record = make_write(key_, Seq{1}, 16);
             bytes + payload_bytes(record.header) + 2 * block_bytes <= room;
             record = make_write(key_, Seq{seq + 1}, 16)) {
            bytes += payload_bytes(record.header);
            ++seq;
            send(std::move(record), session);
        }
        send(make_point(1, Seq{seq}), session);
        stage_->step(records_.capacity());
        EXPECT_TRUE(records_.empty());
        run();
        EXPECT_FALSE(process_->spool->idle()) << "all of it found room: nothing is shown here";
        left_bytes_ = taken_ - notes().bytes;
        for (auto some = stored(); !some.empty(); some = stored()) {
            for (const StoredRecord& one : some) {
                held_.lsns.push_back(one.lsn);
            }
            run();  // The ring is small.
        }
        return held_.lsns.size();
    }
    // All notes so far as one.
    pipeline::Spooled notes() {
        pipeline::Spooled sum, note;
        while (spooled_.try_pop(note)) {
            sum.bytes += note.bytes;
            sum.durable = std::max(sum.durable, note.durable);
            sum.points.insert(sum.points.end(), note.points.begin(), note.points.end());
            sum.base_ordinals.insert(sum.base_ordinals.end(), note.base_ordinals.begin(),
                                     note.base_ordinals.end());
            if (note.expected) {
                sum.expected = note.expected;
            }
        }
        return sum;
    }
    std::vector<StoredRecord> stored() {
        std::vector<StoredRecord> out;
        StoredRecord one;
        while (stored_.try_pop(one)) {
            out.push_back(std::move(one));
        }
        return out;
    }

    StreamKey key_ = make_key(1, 1);
    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    fakes::SimStorage storage_{7};
    pipeline::Ring<Record> records_{64};
    pipeline::Ring<pipeline::Spooled> spooled_{8};
    pipeline::Ring<SpoolCommand> commands_{8};
    pipeline::Ring<StreamsOpened> opened_{8};
    pipeline::Ring<pipeline::Release> releases_{8};
    pipeline::Ring<StoredRecord> stored_{8};
    std::uint64_t taken_ = 0, room_ = 0;
    std::uint64_t left_bytes_ = 0;  // Of what found no room.
    pipeline::Release held_;
    std::unique_ptr<Process> process_;
    std::unique_ptr<SpoolStage> stage_;
};

TEST_F(SpoolStageTest, StoresInOrderAndTellsTheReactorWhatIsDurable) {
    open(SessionId{1});
    std::uint64_t bytes = 0;
    for (std::uint64_t seq = 1; seq <= 5; ++seq) {
        Record record = make_write(key_, Seq{seq}, 2);
        bytes += record.header.data_bytes + record.header.table_bytes;
        send(std::move(record));
    }
    run();
    const pipeline::Spooled told = notes();
    EXPECT_EQ(told.durable, Seq{5});
    EXPECT_EQ(told.bytes, bytes);
    EXPECT_EQ(taken_, bytes);
    EXPECT_GT(room_, 0U);
    EXPECT_EQ(stored().size(), 5U);
}

TEST_F(SpoolStageTest, RefusesAGapAndNamesWhatItExpects) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 1));
    send(make_write(key_, Seq{3}, 1));
    run();
    const pipeline::Spooled told = notes();
    EXPECT_EQ(told.durable, Seq{1});
    EXPECT_EQ(told.expected, Seq{2});
    EXPECT_EQ(stored().size(), 1U);
}

TEST_F(SpoolStageTest, C15_DropsADuplicateAndAcknowledgesItAgain) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 1));
    run();
    notes();
    send(make_write(key_, Seq{1}, 1));
    run();
    const pipeline::Spooled told = notes();
    EXPECT_EQ(told.durable, Seq{1});
    EXPECT_GT(told.bytes, 0U);
    EXPECT_EQ(stored().size(), 1U);
}

TEST_F(SpoolStageTest, DropsRecordsOfAnOlderSession) {
    open(SessionId{1});
    open(SessionId{2});
    send(make_write(key_, Seq{1}, 1), SessionId{1});
    run();
    EXPECT_TRUE(stored().empty());
    EXPECT_GT(notes().bytes, 0U);  // Accounted for all the same.
    send(make_write(key_, Seq{1}, 1), SessionId{2});
    run();
    EXPECT_EQ(stored().size(), 1U);
}

TEST_F(SpoolStageTest, AHelloIsToldOfWhatAnOlderSessionLeftOnItsWay) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 1));
    stage_->step(16);  // Taken into the log, and not durable yet.
    ASSERT_EQ(notes().durable, Seq{0});
    StreamsOpened answer;
    while (opened_.try_pop(answer)) {
    }
    commands_.try_push(SpoolCommand(OpenStreams{key_.machine, SessionId{2}, 0, 1}));
    int steps = 0;
    for (; steps < 50 && !opened_.try_pop(answer); ++steps) {
        stage_->step(16);
    }
    EXPECT_LT(steps, 50);
    ASSERT_EQ(answer.streams.size(), 1U);
    EXPECT_EQ(answer.streams[0].durable, Seq{1});
}

TEST_F(SpoolStageTest, AHelloIsAnsweredThoughWhatAnOlderSessionLeftFindsNoRoom) {
    const std::uint64_t durable = overfill(SessionId{1});
    const std::uint64_t taken = taken_;
    EXPECT_EQ(found_by(SessionId{2}).durable, Seq{durable});
    EXPECT_TRUE(process_->spool->idle());
    EXPECT_EQ(notes().bytes, left_bytes_) << "what is dropped is accounted for";
    EXPECT_EQ(taken_, taken) << "a promise of room is used up once";

    // The agent sends it again, and the point that lies behind it.
    commands_.try_push(SpoolCommand(SettleStreams{{{key_, Seq{}, Seq{}}}}));
    ASSERT_TRUE(releases_.try_push(held_));
    run();
    send(make_write(key_, Seq{durable + 1}, 16), SessionId{2});
    send(make_point(1, Seq{durable + 1}), SessionId{2});
    run();
    const pipeline::Spooled told = notes();
    EXPECT_EQ(told.durable, Seq{durable + 1});
    EXPECT_EQ(told.expected, std::nullopt);
    EXPECT_EQ(told.points.size(), 1U);
    EXPECT_EQ(stored().size(), 2U);
}

TEST_F(SpoolStageTest, ContinuesBehindWhatTheVaultHolds) {
    open(SessionId{1}, Seq{500});
    send(make_write(key_, Seq{501}, 1));
    run();
    EXPECT_EQ(notes().durable, Seq{501});
}

TEST_F(SpoolStageTest, TakesAPointOnlyWhereTheLogStandsAndOnlyOnce) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 1));
    send(make_point(1, Seq{2}));  // Behind something that is missing.
    send(make_point(2, Seq{1}));
    run();
    pipeline::Spooled told = notes();
    ASSERT_EQ(told.points.size(), 1U);
    EXPECT_EQ(told.points[0].bytes[0], std::byte{2});
    EXPECT_EQ(stored().size(), 2U);
    send(make_write(key_, Seq{2}, 1));
    send(make_point(2, Seq{1}));  // Sent again after a reconnect.
    run();
    EXPECT_EQ(notes().points.size(), 1U);
    EXPECT_EQ(stored().size(), 1U);
}

TEST_F(SpoolStageTest, AnswersWithWhatTheSpoolHoldsAlsoAfterARestart) {
    open(SessionId{1});
    send(make_control(key_, RecordType::resync_begin, Seq{1}));
    send(make_base(key_, Seq{1}, 4, 1));
    send(make_point(1, Seq{1}));
    run();
    EXPECT_EQ(notes().base_ordinals, std::vector<std::uint32_t>{4});
    stored();
    storage_.power_cut();
    restart();
    run();
    EXPECT_EQ(stored().size(), 3U);
    EXPECT_TRUE(stage_->delivered_recovered());
    StreamsOpened ignored, answer;
    ASSERT_TRUE(opened_.try_pop(ignored));
    open(SessionId{2});
    run();
    ASSERT_TRUE(opened_.try_pop(answer));
    ASSERT_EQ(answer.streams.size(), 1U);
    EXPECT_EQ(answer.streams[0].durable, Seq{1});
    EXPECT_EQ(answer.streams[0].fence, Seq{1});
    EXPECT_EQ(answer.streams[0].base_ordinals, std::vector<std::uint32_t>{4});
    send(make_point(1, Seq{1}), SessionId{2});  // Known from before: acknowledged, not stored.
    run();
    EXPECT_EQ(notes().points.size(), 1U);
    EXPECT_TRUE(stored().empty());
}

// Or every point of the disk would be dropped as "being synchronised", for ever.
TEST_F(SpoolStageTest, ForgetsAFenceThatAnotherServerHasEnded) {
    open(SessionId{1});
    send(make_control(key_, RecordType::resync_begin, Seq{1}));
    send(make_base(key_, Seq{1}, 4, 1));
    run();
    notes();
    open(SessionId{2}, Seq{100});  // The machine comes back from another server.
    send(make_write(key_, Seq{101}, 1), SessionId{2});
    run();
    EXPECT_EQ(notes().durable, Seq{101});
    const StreamState found = found_by(SessionId{3});
    EXPECT_EQ(found.durable, Seq{101});
    EXPECT_EQ(found.fence, Seq{});
    EXPECT_TRUE(found.base_ordinals.empty());
}

// Or the agent would have to send everything beneath it once more.
TEST_F(SpoolStageTest, KnowsTheFenceThatAnotherServerHasLeftOpen) {
    open(SessionId{1}, Seq{50}, Seq{40});
    send(make_write(key_, Seq{51}, 1));
    run();
    EXPECT_EQ(found_by(SessionId{2}).fence, Seq{40});
    commands_.try_push(SpoolCommand(SettleStreams{{{key_, Seq{50}, Seq{40}}}}));
    send(make_base(key_, Seq{40}, 7, 1), SessionId{2});
    run();
    EXPECT_EQ(found_by(SessionId{3}).base_ordinals, std::vector<std::uint32_t>{7});
}

TEST_F(SpoolStageTest, KeepsItsFenceWhenTheVaultHoldsLess) {
    open(SessionId{1});
    send(make_control(key_, RecordType::resync_begin, Seq{1}));
    send(make_base(key_, Seq{1}, 4, 1));
    run();
    open(SessionId{2});
    EXPECT_EQ(found_by(SessionId{3}).fence, Seq{1});
    open(SessionId{4}, Seq{1}, Seq{1});  // The very same state: nothing is sent again.
    EXPECT_EQ(found_by(SessionId{5}).base_ordinals, std::vector<std::uint32_t>{4});
}

TEST_F(SpoolStageTest, LetsPayloadGoWhenTheUploadSideLags) {
    open(SessionId{1});
    for (std::uint64_t seq = 1; seq <= 40; ++seq) {
        send(make_write(key_, Seq{seq}, 4));
    }
    run();
    std::size_t with = 0, without = 0;
    for (int i = 0; i < 10; ++i) {
        for (StoredRecord& one : stored()) {
            ++(one.record.has_data() ? with : without);
            if (!one.record.has_data()) {
                ASSERT_TRUE(process_->read_back(one.lsn, one.record));
                EXPECT_TRUE(payload_is_genuine(one.record));
            }
        }
        run();
    }
    EXPECT_EQ(with + without, 40U);
    EXPECT_GT(without, 10U);
}

// However short a write is, its payload holds a whole slab: without slabs nothing is received.
TEST_F(SpoolStageTest, ShortWritesThatWaitForTheUploadSideLeaveSlabsFree) {
    const std::size_t free = slabs().free_count();
    open(SessionId{1});
    for (std::uint64_t seq = 1; seq <= 40; ++seq) {
        send(make_write(key_, Seq{seq}, 1));
    }
    run();
    EXPECT_EQ(notes().durable, Seq{40});
    EXPECT_EQ(slabs().free_count(), free - 4);
    while (!stored().empty()) {
        run();
    }
    EXPECT_EQ(slabs().free_count(), free);
    send(make_write(key_, Seq{41}, 1));  // The upload side has caught up.
    run();
    const auto after = stored();
    ASSERT_EQ(after.size(), 1U);
    EXPECT_TRUE(after[0].record.has_data());
}

TEST_F(SpoolStageTest, HoldsARecordWhileTheSpoolIsFullAndGoesOnAfterRelease) {
    open(SessionId{1});
    std::vector<Lsn> lsns;
    std::uint64_t seq = 1;
    Seq durable{};
    for (int round = 0; round < 500 && !process_->conditions->standing(Errc::spool_full); ++round) {
        send(make_write(key_, Seq{seq++}, 8));
        run();
        durable = std::max(durable, notes().durable);
        for (const StoredRecord& one : stored()) {
            lsns.push_back(one.lsn);
        }
    }
    ASSERT_TRUE(process_->conditions->standing(Errc::spool_full));
    EXPECT_EQ(durable, Seq{seq - 2});
    pipeline::Release release{lsns};
    ASSERT_TRUE(releases_.try_push(release));
    run();
    EXPECT_EQ(notes().durable, Seq{seq - 1});
}

TEST_F(SpoolStageTest, DrainMakesEverythingDurableTellsItAndEnds) {
    open(SessionId{1});
    for (std::uint64_t seq = 1; seq <= 5; ++seq) {
        send(make_write(key_, Seq{seq}, 2));
    }
    stage_->drain();
    pipeline::Progress progress = pipeline::Progress::worked;
    for (int i = 0; i < 200 && progress != pipeline::Progress::drained; ++i) {
        progress = stage_->step(16);
    }
    EXPECT_EQ(progress, pipeline::Progress::drained);
    EXPECT_EQ(notes().durable, Seq{5});
}

TEST_F(SpoolStageTest, DrainEndsThoughWhatWasTakenFindsNoRoom) {
    const std::uint64_t durable = overfill(SessionId{1});
    stage_->drain();
    pipeline::Progress progress = pipeline::Progress::worked;
    for (int i = 0; i < 200 && progress != pipeline::Progress::drained; ++i) {
        progress = stage_->step(16);
    }
    EXPECT_EQ(progress, pipeline::Progress::drained);
    EXPECT_FALSE(stage_->failed());
    restart();
    EXPECT_EQ(found_by(SessionId{2}).durable, Seq{durable});
}

// Its agent never comes back: nobody else can end what stands for it.
TEST_F(SpoolStageTest, A2ALossOfAForgottenMachineEndsForEveryLaterStart) {
    const std::string log_file = std::string(directory) + "/spool.log";
    open(SessionId{1});
    for (std::uint64_t seq = 1; seq <= 4; ++seq) {
        send(make_write(key_, Seq{seq}, 2));
        run();  // A batch each.
    }
    ASSERT_EQ(stored().size(), 4U);
    storage_.kill();
    const ByteVector bytes = storage_.contents(log_file);
    std::uint64_t second = 0;
    for (std::uint64_t at = region_bytes; at < bytes.size() && second == 0; at += block_bytes) {
        const auto header = decode_batch_header(Bytes(bytes).subspan(at));
        second = header && header->offset == at && header->records[0].header.seq == Seq{2} ? at : 0;
    }
    ASSERT_GT(second, 0U);
    storage_.overwrite(log_file, second, ByteVector(block_bytes));
    for (int starts = 0; starts < 2; ++starts) {
        restart();
        ASSERT_TRUE(process_->conditions->standing(Errc::spool_lost_durable));
        storage_.kill();
    }
    restart();
    run();
    stage_->forget_machine(make_key(2, 1).machine);  // Another one: nothing of this ends.
    run();
    ASSERT_TRUE(process_->conditions->standing(Errc::spool_lost_durable));
    pipeline::Release release;
    for (const StoredRecord& one : stored()) {
        release.lsns.push_back(one.lsn);
    }
    ASSERT_EQ(release.lsns.size(), 3U);
    ASSERT_TRUE(releases_.try_push(release));
    stage_->forget_machine(key_.machine);
    run();
    // Shown for a while, as it is not known whose all of the lost bytes were; then written down.
    for (int minute = 0; minute < 2; ++minute) {
        clock_.advance(60 * ns_per_s);
        run();
    }
    EXPECT_FALSE(process_->conditions->standing(Errc::spool_lost_durable));
    EXPECT_TRUE(process_->spool->stream_table().all().empty());
    for (int starts = 0; starts < 2; ++starts) {
        storage_.kill();
        restart();
        EXPECT_TRUE(process_->spool->damaged().empty());
        EXPECT_FALSE(process_->conditions->standing(Errc::spool_lost_durable));
        EXPECT_TRUE(process_->recovered().empty());
    }
}

// Its records may not go on as if nothing had been forgotten.
TEST_F(SpoolStageTest, WhatTheSessionOfAForgottenMachineStillSendsIsDropped) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 2));
    run();
    ASSERT_EQ(stored().size(), 1U);
    stage_->forget_machine(key_.machine);
    send(make_write(key_, Seq{2}, 2));
    run();
    EXPECT_TRUE(stored().empty());
    open(SessionId{2});
    send(make_write(key_, Seq{1}, 2), SessionId{2});
    run();
    EXPECT_EQ(stored().size(), 1U);
}

}  // namespace
}  // namespace cw::cache::testing
