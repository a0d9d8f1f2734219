// The master target's stage with its targets, driven step by step on a simulated disk.
#pragma once

#include "appliance/master_target/volume_stage.h"
#include "tests/volume/volume_rig.h"

#include <deque>

namespace cw::appliance::test {

using pipeline::DiskAction;
using pipeline::PointState;
using pipeline::RecordType;
using volume::test::CutDisk;
using volume::test::disk_id;
using volume::test::disk_size;
using volume::test::FakeProbe;
using volume::test::Step;
using volume::test::Stream;

inline const MachineId machine_id{{std::byte{9}}};

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

}  // namespace cw::appliance::test
