#include "cache/spool_format.h"
#include "tests/cache/spool_stage_fixture.h"

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

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
    storage_.plan().durable_delay_ns = ns_per_ms;
    send(make_write(key_, Seq{1}, 1));
    run();
    ASSERT_EQ(notes().durable, Seq{0});
    EXPECT_EQ(found_when_durable(SessionId{2}).durable, Seq{1});
}

// Else what is durable a moment later would be missing from the repair that the agent is told of.
TEST_F(SpoolStageTest, AHelloIsToldOfBaseThatAnOlderSessionLeftOnItsWay) {
    open(SessionId{1});
    send(make_control(key_, RecordType::resync_begin, Seq{1}));
    run();
    storage_.plan().durable_delay_ns = ns_per_ms;
    send(make_base(key_, Seq{1}, 7, 1));
    run();
    ASSERT_TRUE(notes().base_ordinals.empty());
    EXPECT_EQ(found_when_durable(SessionId{2}).base_ordinals, std::vector<std::uint32_t>{7});
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

// The store may be away for hours; what is offered in vain is offered less often.
TEST_F(SpoolStageTest, LooksSeldomWhileNobodyTakes) {
    open(SessionId{1});
    const auto pause = [&] { return stage_->next_deadline() - clock_.boot(); };
    for (std::uint64_t seq = 1; seq <= 80; ++seq) {
        send(make_write(key_, Seq{seq}, 1));
        run();
    }
    notes();
    run();
    std::int64_t longest = 0;
    for (int i = 0; i < 20; ++i) {
        longest = std::max(longest, pause());
        ASSERT_GT(pause(), 0);
        clock_.advance(pause());
        run();
    }
    EXPECT_EQ(longest, 64 * ns_per_ms);
    ASSERT_FALSE(stored().empty());  // Somebody takes again.
    run();
    EXPECT_LE(pause(), 2 * ns_per_ms);
}

// Its agent would wait for ever.
TEST_F(SpoolStageTest, G9TellsOfBaseThatItDoesNotTake) {
    open(SessionId{1});
    send(make_control(key_, RecordType::resync_begin, Seq{1}));
    send(make_control(key_, RecordType::resync_end, Seq{2}));
    run();
    EXPECT_EQ(notes().refused_fence, Seq{});
    send(make_base(key_, Seq{1}, 4, 1));
    run();
    EXPECT_EQ(notes().refused_fence, Seq{1});
}

// Else the fence that is to repair what is damaged here would be dropped as known (seed 398108).
TEST_F(SpoolStageTest, G6TakesOnceMoreWhatItsAgentWasToldIsLacking) {
    open(SessionId{1});
    send(make_write(key_, Seq{1}, 1));
    send(make_control(key_, RecordType::resync_begin, Seq{2}));
    send(make_base(key_, Seq{2}, 7, 1));
    send(make_write(key_, Seq{3}, 1));
    run();
    stored();
    EXPECT_EQ(found_by(SessionId{2}).durable, Seq{3});
    commands_.try_push(SpoolCommand(SettleStreams{{{key_, Seq{1}, Seq{}, Seq{1}}}}));
    run();
    EXPECT_EQ(found_by(SessionId{3}).durable, Seq{1});
    commands_.try_push(SpoolCommand(SettleStreams{{{key_, Seq{1}, Seq{}, Seq{1}}}}));
    send(make_control(key_, RecordType::resync_begin, Seq{2}), SessionId{3});
    send(make_base(key_, Seq{2}, 7, 1), SessionId{3});
    send(make_write(key_, Seq{3}, 1), SessionId{3});
    run();
    EXPECT_EQ(stored().size(), 3U);
    EXPECT_EQ(found_by(SessionId{4}).durable, Seq{3});
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

}  // namespace
}  // namespace cw::cache::testing
