// The master target's stage and its targets, driven step by step on a simulated disk.
#include "appliance/master_target/volume_stage.h"

#include "appliance/status_json.h"
#include "tests/volume/volume_rig.h"

#include <deque>

namespace cw::appliance {
namespace {

using pipeline::DiskAction;
using pipeline::PointState;
using pipeline::RecordType;
using volume::test::CutDisk;
using volume::test::disk_id;
using volume::test::disk_size;
using volume::test::FakeProbe;
using volume::test::Step;
using volume::test::Stream;

const MachineId machine_id{{std::byte{9}}};

// What is read back in these tests is lost.
class LosingReader final : public upload::RecordReader {
public:
    void read(pipeline::Lsn, pipeline::Record&, std::function<void(Result<void>)> done) override {
        reads_.push_back(std::move(done));
    }
    std::size_t poll() override {
        for (const auto& done : reads_) {
            done(fail(Errc::record_corrupt, "a checksum is wrong"));
        }
        return std::exchange(reads_, {}).size();
    }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return reads_.size(); }

private:
    std::vector<std::function<void(Result<void>)>> reads_;
};

class Sink final : public upload::EngineSink {
public:
    bool opened(pipeline::MachineOpened& value) override {
        opens.push_back(std::move(value));
        return true;
    }
    bool committed(std::uint32_t, pipeline::Committed& value) override {
        for (const pipeline::PointStatus& point : value.points) {
            points.push_back(point);
        }
        return true;
    }
    bool damaged(upload::DamagedRecords& value) override {
        ended.push_back(value.evidence);
        return true;
    }
    bool release(pipeline::Release& value) override {
        released += value.lsns.size();
        return true;
    }
    std::vector<pipeline::MachineOpened> opens;
    std::vector<pipeline::PointStatus> points;
    std::vector<std::string> ended;
    std::size_t released = 0;
};

class VolumeStageTest : public testing::Test {
protected:
    VolumeStageTest() {
        disk_ = storage_.make_disk();
        EXPECT_TRUE(disk_->create_directories("/disks"));
        make_target(stream_.original());
    }
    void make_target(const ByteVector& content) {
        ASSERT_TRUE(write_file_atomically(*disk_, "/disks/target", content));
    }
    TargetOptions options() const {
        TargetOptions out;
        out.machine = machine_id;
        out.disk = "disk";
        out.path = "/disks/target";
        out.work_directory = "/beside";
        out.retention_us = 3'600'000'000;
        return out;
    }
    void start(TargetOptions options) {
        stage_.reset();
        stage_ = std::make_unique<VolumeStage>(
            VolumeStage::Context{.clock = clock_,
                                 .volume = {*disk_, probe_},
                                 .reader = reader_,
                                 .readback_slabs = *readback_,
                                 .sink = sink_,
                                 .conditions = conditions_,
                                 .send_digests =
                                     [this](std::uint32_t, ingest::DigestReply& reply) {
                                         if (full_) {
                                             return false;
                                         }
                                         replies_.push_back(std::move(reply));
                                         return true;
                                     },
                                 .doorbell = doorbell_},
            std::vector{std::move(options)}, secret_);
    }
    void run() {
        for (int i = 0; i < 1000 && stage_->step(8) == pipeline::Progress::worked; ++i) {
        }
    }
    // HELLO of an agent that has nothing yet, and what it is told.
    pipeline::DiskWelcome hello(std::uint64_t size = disk_size, const char* name = "disk",
                                DiskId disk = disk_id) {
        upload::OpenCommand command;
        command.open.machine = machine_id;
        command.open.session = SessionId{++session_};
        command.open.disks.push_back({.disk = disk,
                                      .size_bytes = size,
                                      .generation = {},
                                      .next_seq = Seq{1},
                                      .oldest_held = Seq{1},
                                      .catch_up_possible = false,
                                      .name = name});
        stage_->post(command);
        run();
        EXPECT_FALSE(sink_.opens.empty());
        return sink_.opens.back().disks.at(0);
    }
    void push(const Step& step, Generation generation = {}, bool payload = true) {
        pipeline::StoredRecord stored{pipeline::Lsn{++lsn_}, step.make(*slabs_)};
        if (raw(generation) > 0) {
            stored.record.header.key.generation = generation;
        }
        if (!payload) {
            stored.record.drop_data();
            stored.record.table = {};
        }
        stored.record.header.key.machine = machine_id;
        stored.record.header.key.disk = disk_id;
        stored.record.header.session = SessionId{session_};
        ASSERT_TRUE(stage_->stored().try_push(stored));
        run();
    }
    std::vector<const Step*> points() const {
        std::vector<const Step*> out;
        for (const Step& step : stream_.steps) {
            if (step.type == RecordType::point) {
                out.push_back(&step);
            }
        }
        return out;
    }
    std::vector<PointId> all_points() const {
        std::vector<PointId> out;
        std::ranges::transform(points(), std::back_inserter(out), &Step::point);
        return out;
    }
    static std::vector<PointId> committed_of(const std::vector<pipeline::PointStatus>& points) {
        std::vector<PointId> out;
        for (const pipeline::PointStatus& point : points) {
            EXPECT_EQ(point.state, PointState::committed) << point.reason;
            out.push_back(point.id);
        }
        return out;
    }
    // Points that the newest WELCOME was followed by.
    std::vector<PointId> told_with_welcome() const {
        return committed_of(sink_.opens.back().points);
    }
    Result<void> order(TargetOrder::What what, const PointId& point = {}) {
        auto answer =
            stage_->ask({.what = what, .machine = machine_id, .disk = "disk", .point = point});
        run();
        return answer.get();
    }
    TargetStatus status() const { return stage_->status().at(0); }
    ByteVector target() { return storage_.contents("/disks/target"); }

    Stream stream_{11};
    ManualClock clock_;
    fakes::SimStorage storage_{5};
    std::unique_ptr<fakes::SimDisk> disk_;
    FakeProbe probe_;
    LosingReader reader_;
    Sink sink_;
    Conditions conditions_{clock_};
    pipeline::Doorbell doorbell_;
    FingerprintSecret secret_{std::byte{3}};
    bool full_ = false;
    std::deque<ingest::DigestReply> replies_;
    std::unique_ptr<pipeline::SlabPool> slabs_ = pipeline::SlabPool::create("t", 8).value();
    std::unique_ptr<pipeline::SlabPool> readback_ =
        pipeline::SlabPool::create("r", VolumeStage::readback_slabs_min).value();
    std::unique_ptr<VolumeStage> stage_;
    std::uint64_t lsn_ = 0;
    std::uint32_t session_ = 0;
};

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

TEST_F(VolumeStageTest, AMountedTargetIsRefusedAndTakenOnceItIsFree) {
    probe_.used = true;
    start(options());
    EXPECT_EQ(hello().action, DiskAction::reject);
    EXPECT_EQ(status().trouble->code, Errc::target_unsafe);
    EXPECT_TRUE(conditions_.standing(Errc::target_unsafe));
    probe_.used = false;
    clock_.advance(11 * ns_per_s);
    run();
    EXPECT_EQ(sink_.ended.size(), 1U) << "the agent must say HELLO again";
    EXPECT_FALSE(conditions_.standing(Errc::target_unsafe));
    EXPECT_EQ(hello().action, DiskAction::resync);
}

TEST_F(VolumeStageTest, AnotherSizeIdentityOrDiskIsRefusedAndTheTargetUntouched) {
    start(options());
    EXPECT_EQ(hello(disk_size + 512).action, DiskAction::reject);
    EXPECT_EQ(hello(disk_size, "another disk", DiskId{{std::byte{5}}}).action, DiskAction::reject);
    TargetOptions wrong = options();
    wrong.size_bytes = disk_size + 512;
    start(wrong);
    EXPECT_EQ(status().trouble->code, Errc::target_unsafe);
    EXPECT_EQ(hello(disk_size + 512).action, DiskAction::reject);
    wrong = options();
    wrong.identity = "file 7 7";
    start(wrong);
    const auto welcome = hello();
    EXPECT_EQ(welcome.action, DiskAction::reject);
    EXPECT_NE(welcome.reason.find("file 1 2"), std::string::npos) << welcome.reason;
    EXPECT_EQ(target(), stream_.original());
}

TEST_F(VolumeStageTest, ATargetMountedMeanwhileIsNotSwitched) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        push(step);
    }
    probe_.used = true;
    const PointId newest = points().back()->point;
    EXPECT_EQ(order(TargetOrder::What::switch_, newest).error().code, Errc::target_unsafe);
    EXPECT_EQ(target(), stream_.original());
    probe_.used = false;
    EXPECT_EQ(order(TargetOrder::What::switch_, PointId{{std::byte{1}}}).error().code,
              Errc::point_not_found);
    EXPECT_TRUE(order(TargetOrder::What::switch_, newest));
    EXPECT_TRUE(target() == points().back()->image);
}

TEST_F(VolumeStageTest, AMergeIsDoneInPiecesAndItsProgressIsTold) {
    TargetDisk disk(options(), {*disk_, probe_}, conditions_);
    ASSERT_TRUE(disk.open());
    pipeline::DiskHello hello;
    hello.disk = disk_id;
    hello.name = "disk";
    hello.size_bytes = disk_size;
    hello.next_seq = hello.oldest_held = Seq{1};
    ASSERT_TRUE(disk.meets(machine_id, hello));
    disk.welcome(hello, {}, SessionId{1});
    for (const Step& step : stream_.steps) {
        pipeline::Record record = step.make(*slabs_);
        record.header.session = SessionId{1};
        if (step.type != RecordType::point) {
            ASSERT_TRUE(disk.take(record));
            continue;
        }
        ASSERT_TRUE(disk.take_point(record));
        break;
    }
    int pieces = 0;
    for (; disk.merging() && pieces < 1000; ++pieces) {
        disk.merge_some(4096, clock_.boot());
        clock_.advance(ns_per_ms);
        if (disk.merging()) {
            const TargetWork work = disk.status().work;
            EXPECT_EQ(work.what, TargetWork::What::merging);
            EXPECT_LE(work.done_bytes, work.total_bytes);
            EXPECT_EQ(work.eta_s >= 0, pieces > 0 && work.done_bytes > 0) << pieces;
        }
    }
    EXPECT_GT(pieces, 5);
    EXPECT_EQ(disk.status().work.what, TargetWork::What::none);
    EXPECT_EQ(disk.point()->id, points()[0]->point);
}

TEST(TargetStatusText, ShowsWhatIsHeldAndTheProgressOfTheWork) {
    DaemonStatus status;
    TargetStatus& target = status.targets.emplace_back();
    target.machine = machine_id;
    target.disk = "disk";
    target.path = "/dev/vg0/web1";
    target.phase = volume::Phase::switching;
    target.point = volume::HeldPoint{PointId{{std::byte{2}}}, Generation{1}, Seq{40}, {}};
    target.earlier.push_back(
        volume::HeldPoint{PointId{{std::byte{1}}}, Generation{1}, Seq{30}, {}});
    target.work = {.what = TargetWork::What::switching,
                   .done_bytes = 1 * gib,
                   .total_bytes = 4 * gib,
                   .bytes_per_s = 512.0 * mib,
                   .eta_s = 6};
    const std::string json = status_json(status, HealthReport{});
    const std::string text = status_text(json, false);
    for (const char* part :
         {"targets:", "/dev/vg0/web1  switching", "holds point 02000000-", "write 40",
          "1 earlier points", "switching: 1.0 GiB of 4.0 GiB, 512.0 MiB/s, ETA 6 s"}) {
        EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
    }
    EXPECT_NE(status_text(json, true).find("/dev/vg0/web1 switching"), std::string::npos);
}

}  // namespace
}  // namespace cw::appliance
