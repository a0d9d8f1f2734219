// What the master target's stage tells of points, damage and digests.
#include "tests/volume/volume_stage_rig.h"

namespace cw::appliance::test {
namespace {

TEST_F(VolumeStageTest, AnInitialReplicationComparesWithWhatTheTargetHolds) {
    start(options());
    EXPECT_EQ(hello().action, DiskAction::resync);
}

TEST_F(VolumeStageTest, EveryPointIsCommittedEveryRecordReleasedAndTheTargetUntouched) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        push(step);
    }
    ASSERT_EQ(sink_.points.size(), points().size());
    for (const pipeline::PointStatus& point : sink_.points) {
        EXPECT_EQ(point.state, PointState::committed) << point.reason;
    }
    EXPECT_EQ(sink_.released, stream_.steps.size());
    EXPECT_EQ(target(), stream_.original());
    EXPECT_EQ(status().point->id, points().back()->point);
    EXPECT_EQ(status().earlier.size(), points().size() - 1);
    EXPECT_EQ(status().work.what, TargetWork::What::none);
    EXPECT_GT(status().taken_bytes, 0U);
}

TEST_F(VolumeStageTest, AHelloIsToldAgainWhatBecameOfTheNewestPoints) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        push(step);
    }
    hello();
    EXPECT_EQ(told_with_welcome(), all_points());
    start(options());  // Another process knows what the target knows.
    hello();
    EXPECT_EQ(told_with_welcome(), all_points());
}

TEST_F(VolumeStageTest, APointMadeWhenThereIsNoSessionIsToldToTheNextHello) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        if (&step == points().back()) {
            start(options());  // What its spool holds is given out before any agent is back.
            sink_.points.clear();
        }
        push(step);
    }
    EXPECT_TRUE(sink_.points.empty());
    hello();
    EXPECT_EQ(told_with_welcome(), all_points());
}

TEST_F(VolumeStageTest, APointThatCouldNotBeMadeWithoutASessionIsToldToTheNextHello) {
    start(options());
    for (const Step& step : stream_.steps) {
        push(step);
    }
    EXPECT_TRUE(sink_.points.empty());
    hello();
    ASSERT_EQ(sink_.opens.back().points.size(), points().size());
    for (const pipeline::PointStatus& point : sink_.opens.back().points) {
        EXPECT_TRUE(point.state == PointState::dropped && !point.reason.empty());
    }
}

TEST_F(VolumeStageTest, AMergeFoundAtTheStartIsToldWhenItHasEnded) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        if (&step != points()[1]) {
            push(step);
            continue;
        }
        pipeline::StoredRecord stored{pipeline::Lsn{++lsn_}, step.make(*slabs_)};
        stored.record.header.key.machine = machine_id;
        ASSERT_TRUE(stage_->stored().try_push(stored));
        const std::size_t before = sink_.released;
        for (int i = 0; i < 100 && sink_.released == before; ++i) {
            stage_->step(8);
        }
        break;
    }
    start(options());  // The record is gone; the merge goes on.
    hello();
    EXPECT_TRUE(told_with_welcome().empty()) << "what the target holds is not known yet";
    EXPECT_EQ(committed_of(sink_.points),
              (std::vector{points()[0]->point, points()[0]->point, points()[1]->point}));
    hello();
    EXPECT_EQ(told_with_welcome(), (std::vector{points()[0]->point, points()[1]->point}));
}

TEST_F(VolumeStageTest, B4WhatTheCacheLostStandsUntilAFenceRepairsIt) {
    start(options());
    const Generation first = hello().generation;
    const Step* begin = nullptr;
    for (const Step& step : stream_.steps) {
        begin = step.type == RecordType::resync_begin ? &step : begin;
        const bool lost = step.type == RecordType::write;
        push(step, step.type == RecordType::point ? Generation{} : first, !lost);
        if (lost) {
            break;
        }
    }
    ASSERT_NE(begin, nullptr);
    EXPECT_TRUE(conditions_.standing(Errc::spool_lost_durable));
    ASSERT_FALSE(sink_.ended.empty());
    const pipeline::DiskWelcome told = hello();
    EXPECT_GT(told.generation, first);
    EXPECT_TRUE(conditions_.standing(Errc::spool_lost_durable));
    push(*begin, told.generation);
    EXPECT_FALSE(conditions_.standing(Errc::spool_lost_durable));
}

TEST_F(VolumeStageTest, AnOrderSwitchesToTheNewestOrToAnEarlierPoint) {
    for (const std::size_t which : {points().size() - 1, std::size_t{1}}) {
        storage_.erase("/disks/target");
        make_target(stream_.original());
        start(options());
        hello();
        for (const Step& step : stream_.steps) {
            push(step);
        }
        const Step& wanted = *points()[which];
        ASSERT_TRUE(order(TargetOrder::What::switch_, wanted.point));
        EXPECT_EQ(status().phase, volume::Phase::done);
        EXPECT_TRUE(target() == wanted.image);
        EXPECT_EQ(hello().action, DiskAction::reject);  // It takes nothing more.
        ASSERT_TRUE(order(TargetOrder::What::cancel));  // To be a target again.
        EXPECT_EQ(status().phase, volume::Phase::collecting);
        EXPECT_TRUE(target() == wanted.image);
        EXPECT_EQ(hello().action, DiskAction::resync);
        stage_.reset();
    }
}

TEST_F(VolumeStageTest, WhatAKilledCancelLeftIsClearedAtTheStartAndNotAtTheNextHello) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        push(step);
    }
    stage_.reset();
    const auto left = [&] {
        auto names = disk_->list("/beside").value();
        std::erase(names, "readers");
        return names;
    };
    ASSERT_TRUE(disk_->remove("/beside/state"));  // As volume.cancelled does.
    ASSERT_FALSE(left().empty());
    start(options());
    run();
    EXPECT_EQ(left(), std::vector<std::string>{});
    EXPECT_TRUE(target() == stream_.original());
    EXPECT_EQ(hello().action, DiskAction::resync);
}

TEST_F(VolumeStageTest, DigestsAreToldOnceTheFenceWasTakenAndForWhatIsSettled) {
    start(options());
    hello();
    ingest::DigestRequest request{.machine = machine_id,
                                  .disk = disk_id,
                                  .generation = Generation{3},
                                  .fence = stream_.steps[0].seq,
                                  .session = SessionId{session_},
                                  .reactor = 0,
                                  .slot = 4,
                                  .first_block = 0,
                                  .count = 4096};
    stage_->ask_digests(request);
    run();
    EXPECT_TRUE(replies_.empty()) << "what lies before the fence may still be on its way";
    full_ = true;
    push(stream_.steps[0]);
    EXPECT_TRUE(replies_.empty());
    full_ = false;
    run();
    ASSERT_EQ(replies_.size(), 1U);
    const ingest::DigestReply reply = replies_.front();
    ASSERT_EQ(reply.known.size(), 4096U);
    ASSERT_EQ(reply.fingerprints.size(), disk_size / (64 * kib));
    EXPECT_EQ(reply.slot, 4U);
    for (std::size_t i = 0; i < reply.fingerprints.size(); ++i) {
        EXPECT_TRUE(reply.known[i]);
        EXPECT_EQ(reply.fingerprints[i],
                  fingerprint(Bytes(stream_.original()).subspan(i * 64 * kib, 64 * kib), secret_));
    }
    EXPECT_EQ(status().blocks_compared, disk_size / (64 * kib));
}

TEST_F(VolumeStageTest, DigestsOfAFenceThatNeverComesAreUnknownInTheEnd) {
    start(options());
    hello();
    ingest::DigestRequest request{};
    request.machine = machine_id;
    request.disk = disk_id;
    request.generation = Generation{3};
    request.fence = Seq{99};
    request.count = 5;
    stage_->ask_digests(request);
    run();
    EXPECT_TRUE(replies_.empty());
    EXPECT_LE(stage_->next_deadline() - clock_.boot(), TargetDigests::wait_ns_max);
    clock_.advance(TargetDigests::wait_ns_max);
    run();
    ASSERT_EQ(replies_.size(), 1U);
    EXPECT_EQ(replies_[0].known, std::vector<bool>(5, false));
    request.disk = DiskId{{std::byte{77}}};  // Nobody's target: told at once.
    stage_->ask_digests(request);
    run();
    EXPECT_EQ(replies_.size(), 2U);
}

}  // namespace
}  // namespace cw::appliance::test
