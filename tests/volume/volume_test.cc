#include "base/random.h"
#include "egress/volume/volume_writer.h"
#include "tests/volume/cut_disk.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::volume::test {
namespace {

using pipeline::ExtentOp;
using pipeline::Record;
using pipeline::RecordType;

constexpr std::uint64_t disk_size = 512 * kib + 1536;
const DiskId disk_id{{std::byte{1}}};

class FakeProbe final : public TargetProbe {
public:
    Result<std::string> identity(const std::string&) override { return name; }
    Result<void> check_unused(const std::string& path) override {
        return used ? fail(Errc::target_unsafe, path + " is mounted") : Result<void>{};
    }
    std::string name = "file 1 2";
    bool used = false;
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
    void add_extent(RecordType type, Seq seq, std::uint64_t offset, ByteVector data, ExtentOp op) {
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
        steps.push_back({.make =
                             [id, seq = seq_](pipeline::SlabPool&) {
                                 pipeline::Point point;
                                 point.id = id;
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
    Result<std::unique_ptr<VolumeWriter>> open() {
        return VolumeWriter::open({"/beside", "/disks/target", disk_id, disk_size, ""},
                                  {*disk_, probe_});
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
            CW_TRY(writer.take(step.make(*pool_)));
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
    FakeProbe probe_;
    std::unique_ptr<pipeline::SlabPool> pool_ = pipeline::SlabPool::create("t", 4).value();
    std::unique_ptr<fakes::SimStorage> storage_;
    std::unique_ptr<CutDisk> disk_;
};

TEST_F(VolumeTest, TargetIsUntouchedUntilTheSwitchAndThenIsThePoint) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const Stream stream(seed);
        begin(stream, seed);
        auto writer = open().value();
        ASSERT_TRUE(feed(*writer, stream));
        EXPECT_EQ(target(), stream.original());
        const PointId last = stream.steps.back().point;
        ASSERT_EQ(writer->point()->id, last);
        ASSERT_TRUE(writer->begin_switch(last));
        EXPECT_EQ(target(), stream.original());
        ASSERT_TRUE(finish(*writer));
        EXPECT_EQ(target(), stream.steps.back().image) << "seed " << seed;
        EXPECT_FALSE(storage_->exists("/beside/overlay"));
    }
}

TEST_F(VolumeTest, PowerCutAtAnyOperationLeavesTheTargetOldOrMakesItThePoint) {
    std::uint64_t cuts = 0, switched = 0, untouched = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const Stream stream(seed);
        for (std::uint64_t at = 1 + seed; cuts < 4000; at += 3) {
            begin(stream, seed * 1000 + at);
            disk_ = std::make_unique<CutDisk>(*storage_, at);
            bool switch_promised = false;
            const auto run = [&]() -> Result<void> {
                CW_TRY_ASSIGN(auto writer, open());
                CW_TRY(feed(*writer, stream));
                CW_TRY(writer->begin_switch(stream.steps.back().point));
                switch_promised = true;
                return finish(*writer);
            };
            const bool whole = run().has_value();
            if (whole && !disk_->cut()) {
                break;  // The cut would come after the end.
            }
            ++cuts;
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            auto writer = open();
            ASSERT_TRUE(writer.has_value()) << to_string(writer.error()) << " cut " << at;
            PointId expected = stream.steps.back().point;
            if ((*writer)->phase() == Phase::collecting) {
                ++untouched;
                EXPECT_FALSE(switch_promised);
                EXPECT_EQ(target(), stream.original()) << "seed " << seed << " cut " << at;
                if (at % 2 == 0 && (*writer)->point()) {
                    expected = (*writer)->point()->id;  // What it says it holds, it must hold.
                } else {
                    ASSERT_TRUE(feed(**writer, stream));
                }
                ASSERT_TRUE((*writer)->begin_switch(expected));
            } else {
                ++switched;
                if ((*writer)->phase() == Phase::switching) {
                    EXPECT_EQ((*writer)->cancel().error().code, Errc::target_switching);
                }
            }
            ASSERT_TRUE(finish(**writer));
            EXPECT_TRUE(target() == image_of(stream, expected)) << "seed " << seed << " cut " << at;
        }
    }
    EXPECT_GT(untouched, 50U);
    EXPECT_GT(switched, 5U);
}

TEST_F(VolumeTest, CancelAtAnyMomentBeforeTheSwitchLeavesTheTargetAsItWas) {
    const Stream stream(5);
    std::size_t moments = 0;
    for (std::size_t stop = 0; stop <= stream.steps.size(); stop += 2, ++moments) {
        begin(stream, stop);
        auto writer = open().value();
        for (std::size_t i = 0; i < stop; ++i) {
            ASSERT_TRUE(writer->take(stream.steps[i].make(*pool_)));
        }
        ASSERT_TRUE(writer->cancel());
        EXPECT_EQ(target(), stream.original());
        EXPECT_FALSE(writer->point().has_value());
        // And it can begin again.
        ASSERT_TRUE(feed(*writer, stream));
        ASSERT_TRUE(writer->begin_switch(stream.steps.back().point));
        ASSERT_TRUE(finish(*writer));
        EXPECT_EQ(target(), stream.steps.back().image);
    }
    EXPECT_GE(moments, 10U);
}

TEST_F(VolumeTest, AfterTheSwitchNothingIsCancelledAndNothingElseIsTaken) {
    const Stream stream(6);
    begin(stream, 1);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    ASSERT_TRUE(writer->begin_switch(stream.steps.back().point));
    EXPECT_EQ(writer->cancel().error().code, Errc::target_switching);
    EXPECT_EQ(writer->take(stream.steps[0].make(*pool_)).error().code, Errc::target_switching);
    ASSERT_TRUE(writer->apply_some(4096));
    writer = open().value();
    EXPECT_EQ(writer->phase(), Phase::switching);
    ASSERT_TRUE(finish(*writer));
    EXPECT_EQ(target(), stream.steps.back().image);
}

TEST_F(VolumeTest, UnsafeTargetsAreRefused) {
    const Stream stream(7);
    begin(stream, 1);
    probe_.used = true;
    EXPECT_EQ(open().error().code, Errc::target_unsafe);
    probe_.used = false;
    EXPECT_EQ(VolumeWriter::open({"/beside", "/disks/target", disk_id, disk_size + 512, ""},
                                 {*disk_, probe_})
                  .error()
                  .code,
              Errc::target_unsafe);
    EXPECT_EQ(VolumeWriter::open({"/beside2", "/disks/target", disk_id, disk_size, "somebody else"},
                                 {*disk_, probe_})
                  .error()
                  .code,
              Errc::target_unsafe);
    begin(stream, 2);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    probe_.used = true;  // Mounted meanwhile.
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::target_unsafe);
    EXPECT_EQ(target(), stream.original());
    probe_.used = false;
    probe_.name = "file 9 9";  // Exchanged meanwhile.
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::target_unsafe);
    EXPECT_EQ(open().error().code, Errc::target_unsafe);
}

TEST_F(VolumeTest, OnlyTheHeldPointCanBeSwitchedTo) {
    const Stream stream(8);
    begin(stream, 1);
    auto writer = open().value();
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::point_not_found);
    ASSERT_TRUE(feed(*writer, stream));
    EXPECT_EQ(writer->begin_switch(PointId{{std::byte{7}}}).error().code, Errc::point_not_found);
}

TEST_F(VolumeTest, DigestsAreOfWhatTheTargetWouldBeOrUnknown) {
    const Stream stream(9);
    begin(stream, 1);
    auto writer = open().value();
    FingerprintSecret secret{};
    const auto of = [&](const ByteVector& image, std::size_t i) {
        return fingerprint(Bytes(image).subspan(i * 64 * kib, 64 * kib), secret);
    };
    auto digests = writer->digests(0, 12, secret).value();
    for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(digests[i], of(stream.original(), i));
    }
    EXPECT_FALSE(digests[8].has_value());  // The partial last block.
    EXPECT_FALSE(digests[11].has_value());
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));
    ASSERT_TRUE(writer->take(stream.steps[4].make(*pool_)));  // BASE of the first block
    EXPECT_FALSE(writer->digests(0, 1, secret).value()[0].has_value());
    writer->cancel().value();
    ASSERT_TRUE(feed(*writer, stream));
    digests = writer->digests(0, 8, secret).value();
    for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(digests[i], of(stream.steps.back().image, i));
    }
}

TEST_F(VolumeTest, GapsForeignBaseAndDamageAreRefusedDuplicatesAreNot) {
    const Stream stream(10);
    begin(stream, 1);
    auto writer = open().value();
    EXPECT_EQ(writer->take(stream.steps[1].make(*pool_)).error().code, Errc::generation_mismatch);
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));  // Sent again after a reconnect.
    EXPECT_EQ(writer->take(stream.steps[2].make(*pool_)).error().code, Errc::seq_gap);
    Record base = stream.steps[4].make(*pool_);
    base.header.seq = Seq{7};
    EXPECT_EQ(writer->take(base).error().code, Errc::generation_mismatch);
    Record damaged = stream.steps[4].make(*pool_);
    damaged.slabs[0].data()[5] ^= std::byte{1};
    EXPECT_EQ(writer->take(damaged).error().code, Errc::payload_corrupt);
    EXPECT_EQ(writer->take(stream.steps.back().make(*pool_)).error().code, Errc::seq_gap);
}

TEST(TargetProbe, KnowsWhatMountinfoMounts) {
    constexpr std::string_view text =
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 253:0 / /home rw - xfs /dev/mapper/vg-home rw\n";
    EXPECT_TRUE(mounted_in(text, "8:1"));
    EXPECT_TRUE(mounted_in(text, "253:0"));
    EXPECT_FALSE(mounted_in(text, "8:2"));
    EXPECT_FALSE(mounted_in(text, "22"));
    EXPECT_FALSE(mounted_in("", "8:1"));
}

TEST(TargetProbe, TellsFilesApartAndRefusesWhatIsNeitherFileNorDevice) {
    const auto probe = make_system_probe();
    const std::string a = testing::TempDir() + "cw_probe_a" + std::to_string(::getpid());
    const std::string b = a + "b";
    std::ofstream(a) << "x";
    std::ofstream(b) << "x";
    EXPECT_NE(probe->identity(a).value(), probe->identity(b).value());
    EXPECT_EQ(probe->identity(a).value(), probe->identity(a).value());
    EXPECT_TRUE(probe->check_unused(a).has_value());
    EXPECT_EQ(probe->check_unused("/dev/null").error().code, Errc::target_unsafe);
    EXPECT_EQ(probe->check_unused(a + "c").error().code, Errc::not_found);
    std::filesystem::remove(a);
    std::filesystem::remove(b);
}

}  // namespace
}  // namespace cw::volume::test
