// A random stream for one disk that knows every point's content, and a VolumeWriter on a simulated
// disk that can lose power.
#pragma once

#include "base/random.h"
#include "egress/volume/volume_writer.h"
#include "tests/volume/cut_disk.h"

#include <cstring>
#include <functional>

#include <gtest/gtest.h>

namespace cw::volume::test {

using pipeline::ExtentOp;
using pipeline::Record;
using pipeline::RecordType;

constexpr std::uint64_t disk_size = 512 * kib + 1536;
inline const DiskId disk_id{{std::byte{1}}};

class FakeProbe final : public TargetProbe {
public:
    Result<std::string> identity(const std::string&) override { return name; }
    Result<void> check_unused(const std::string& path, const TargetHold*) override {
        return used ? fail(Errc::target_unsafe, path + " is mounted") : Result<void>{};
    }
    Result<std::unique_ptr<TargetHold>> hold(const std::string&) override { return nullptr; }
    Result<std::int64_t> written_ns(const std::string& path) override {
        return gone ? fail(Errc::not_found, path) : Result<std::int64_t>(written);
    }
    std::string name = "file 1 2";
    bool used = false, gone = false;
    std::int64_t written = 7;
};

// One step of a stream, and the disk after it for points.
struct Step {
    std::function<Record(pipeline::SlabPool&)> make;
    RecordType type{};
    Seq seq{};
    std::uint32_t count = 0;
    ByteVector image;  // point: what the target must become
    PointId point;
};

// A random stream: a fence with BASE mixed among writes, then writes and points.
class Stream {
public:
    explicit Stream(std::uint64_t seed) : random_(make_seeded_random(seed)), original_(disk_size) {
        random_->fill(original_);
        source_ = original_;
        for (int i = 0; i < 6; ++i) {  // The source has diverged from the target.
            scribble();
        }
        fence();
        for (int round = 0; round < 3; ++round) {
            for (std::uint64_t i = 1 + random_->below(5); i > 0; --i) {
                write();
            }
            point();
        }
    }
    const ByteVector& original() const { return original_; }
    std::vector<Step> steps;

private:
    struct Range {
        std::uint64_t offset, length;
    };
    Range range() {
        const std::uint64_t sectors = 1 + random_->below(40);
        return {random_->below(disk_size / 512 - sectors) * 512, sectors * 512};
    }
    ByteVector scribble() {
        const Range at = range();
        ByteVector data(at.length);
        random_->fill(data);
        std::memcpy(source_.data() + at.offset, data.data(), data.size());
        last_ = at;
        return data;
    }
    static Record build(pipeline::SlabPool& pool, RecordType type, Seq seq, std::uint64_t offset,
                        const ByteVector& data, ExtentOp op) {
        Record record;
        record.header.key.generation = Generation{3};
        record.header.type = type;
        record.header.seq = seq;
        record.header.seq_count = type == RecordType::base ? 0 : 1;
        const bool holds = op == ExtentOp::write;
        pipeline::ExtentTable table{WallMicros{1},
                                    {{.offset = offset,
                                      .length = static_cast<std::uint32_t>(data.size()),
                                      .op = op,
                                      .data_position = 0,
                                      .crc = holds ? crc32c(data) : 0}}};
        record.table = pipeline::TableBuffer(pipeline::extent_table_bytes(1));
        pipeline::write_extent_table(table, record.table.bytes());
        record.header.table_bytes = static_cast<std::uint32_t>(record.table.bytes().size());
        record.header.table_crc = crc32c(record.table.bytes());
        if (holds) {
            record.header.data_bytes =
                static_cast<std::uint32_t>(align_up(data.size(), block_bytes));
            record.slabs[0] = pool.try_take();
            std::memcpy(record.slabs[0].data(), data.data(), data.size());
        }
        return record;
    }
    void add_extent(RecordType type, Seq seq, std::uint64_t offset, const ByteVector& data,
                    ExtentOp op) {
        steps.push_back(
            {.make =
                 [=](pipeline::SlabPool& pool) { return build(pool, type, seq, offset, data, op); },
             .type = type,
             .seq = seq,
             .count = type == RecordType::base ? 0U : 1U,
             .image = {},
             .point = {}});
    }
    void write() {
        seq_ = next(seq_);
        if (random_->below(4) == 0) {
            const Range at = range();
            std::memset(source_.data() + at.offset, 0, at.length);
            add_extent(RecordType::write, seq_, at.offset, ByteVector(at.length), ExtentOp::zero);
            return;
        }
        ByteVector data = scribble();
        add_extent(RecordType::write, seq_, last_.offset, std::move(data), ExtentOp::write);
    }
    void control(RecordType type) {
        seq_ = next(seq_);
        steps.push_back({.make =
                             [type, seq = seq_](pipeline::SlabPool&) {
                                 Record record;
                                 record.header.key.generation = Generation{3};
                                 record.header.type = type;
                                 record.header.seq = seq;
                                 record.header.seq_count = 1;
                                 return record;
                             },
                         .type = type,
                         .seq = seq_,
                         .count = 1,
                         .image = {},
                         .point = {}});
    }
    void fence() {
        seq_ = Seq{40};
        control(RecordType::resync_begin);
        const Seq fence = seq_;
        for (std::uint64_t at = 0; at < disk_size; at += 64 * kib) {
            write();
            const std::uint64_t length = std::min(64 * kib, disk_size - at);
            const ByteVector block(source_.begin() + static_cast<long>(at),
                                   source_.begin() + static_cast<long>(at + length));
            write();  // After the block was read, and before its BASE arrives.
            write();
            add_extent(RecordType::base, fence, at, block, ExtentOp::write);
        }
        control(RecordType::resync_end);
        point();
    }
    void point() {
        const PointId id = make_id<PointId>(*random_);
        time_us_ += 1'000'000;
        steps.push_back({.make =
                             [id, seq = seq_, time = time_us_](pipeline::SlabPool&) {
                                 pipeline::Point point;
                                 point.id = id;
                                 point.source_time = WallMicros{time};
                                 point.kind = time / 1'000'000 % 2 == 0
                                                  ? pipeline::PointKind::app
                                                  : pipeline::PointKind::crash;
                                 point.tag = "at " + std::to_string(time);
                                 point.cuts = {{disk_id, Generation{3}, seq, {}}};
                                 const ByteVector bytes = pipeline::encode_point(point);
                                 Record record;
                                 record.header.type = RecordType::point;
                                 record.table = pipeline::TableBuffer(block_bytes);
                                 std::ranges::copy(bytes, record.table.bytes().begin());
                                 record.header.table_bytes = block_bytes;
                                 return record;
                             },
                         .type = RecordType::point,
                         .seq = seq_,
                         .count = 0,
                         .image = source_,
                         .point = id});
    }
    std::unique_ptr<Random> random_;
    ByteVector original_, source_;
    Range last_{};
    Seq seq_{};
    std::int64_t time_us_ = 1'000'000'000;
};

class VolumeTest : public testing::Test {
protected:
    void begin(const Stream& stream, std::uint64_t seed) {
        disk_.reset();
        storage_ = std::make_unique<fakes::SimStorage>(seed);
        disk_ = std::make_unique<CutDisk>(*storage_, 0);
        ASSERT_TRUE(disk_->create_directories("/disks"));
        auto file = disk_->open("/disks/target", {.write = true, .create = true}).value();
        ASSERT_TRUE(write_at(*disk_, *file, 0, stream.original(), true));
        ASSERT_TRUE(disk_->sync_directory("/disks"));
    }
    VolumeWriter::Options options() const {
        return {.work_directory = "/beside",
                .target_path = "/disks/target",
                .disk = disk_id,
                .size_bytes = disk_size,
                .expected_identity = "",
                .retention_us = retention_us_};
    }
    Result<std::unique_ptr<VolumeWriter>> open() {
        CW_TRY_ASSIGN(auto writer, VolumeWriter::open(options(), {*disk_, probe_}));
        CW_TRY(merge(*writer));
        return writer;
    }
    // In small pieces, as a stage does between other things.
    static Result<void> merge(VolumeWriter& writer) {
        for (bool done = false; !done;) {
            CW_TRY_ASSIGN(done, writer.merge_some(16 * kib));
        }
        return {};
    }
    Result<void> take(VolumeWriter& writer, const Step& step) {
        CW_TRY(writer.take(step.make(*pool_)));
        return merge(writer);
    }
    // Sends what the writer lacks, as an agent does after WELCOME.
    Result<void> feed(VolumeWriter& writer, const Stream& stream) {
        const Seq from = writer.received();
        const auto fence = writer.open_fence();
        for (const Step& step : stream.steps) {
            if (step.type == RecordType::base    ? step.seq <= from && fence != step.seq
                : step.type == RecordType::point ? step.seq < from || writer.committed() == step.seq
                                                 : step.seq <= from) {
                continue;
            }
            CW_TRY(take(writer, step));
        }
        return {};
    }
    Result<void> finish(VolumeWriter& writer) {
        for (;;) {
            CW_TRY_ASSIGN(const bool done, writer.apply_some(64 * kib));
            if (done) {
                return {};
            }
        }
    }
    ByteVector target() { return storage_->contents("/disks/target"); }
    const ByteVector& image_of(const Stream& stream, const PointId& id) {
        for (const Step& step : stream.steps) {
            if (step.type == RecordType::point && step.point == id) {
                return step.image;
            }
        }
        ADD_FAILURE() << "unknown point";
        return stream.original();
    }
    std::vector<const Step*> points_of(const Stream& stream) const {
        std::vector<const Step*> points;
        for (const Step& step : stream.steps) {
            if (step.type == RecordType::point) {
                points.push_back(&step);
            }
        }
        return points;
    }
    std::int64_t retention_us_ = 0;
    FakeProbe probe_;
    std::unique_ptr<pipeline::SlabPool> pool_ = pipeline::SlabPool::create("t", 4).value();
    std::unique_ptr<fakes::SimStorage> storage_;
    std::unique_ptr<CutDisk> disk_;
};

}  // namespace cw::volume::test
