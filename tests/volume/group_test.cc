// What a work directory remembers of a point's group and of the machine: the files, byte by byte,
// those of older programs, and what POINT_RESULT does.
#include "egress/volume/point_view.h"
#include "tests/volume/volume_rig.h"

namespace cw::volume::test {
namespace {

// A held application point "nightly", and with a group that is decided, a machine "web-1" and one
// late decision; then undo logs that return to that point, without a group and with a promised one.
// From the description of the formats, by another program.
constexpr std::string_view old_state =
    "70d9626b43575631010511111111111111111111111111111111000010000000000002002f740800"
    "66696c65203120320700000000000000030000000000000029000000000000002222222222222222"
    "22222222222222220300000000000000280000000000000000401e18240a06000307006e69676874"
    "6c79";
constexpr std::string_view new_state =
    "01ccdc0843575631013d11111111111111111111111111111111000010000000000002002f740800"
    "66696c65203120320700000000000000030000000000000029000000000000002222222222222222"
    "22222222222222220300000000000000280000000000000000401e18240a06000307006e69676874"
    "6c79333333333333333333333333333333330205007765622d310100444444444444444444444444"
    "44444444";
constexpr std::string_view old_head =
    "acf7e796435755310700000000000000222222222222222222222222222222220300000000000000"
    "280000000000000000401e18240a060000100000000000000307006e696768746c79";
constexpr std::string_view new_head =
    "d7485063435755310700000000000000222222222222222222222222222222220300000000000000"
    "280000000000000000401e18240a060000100000000000000307006e696768746c79333333333333"
    "3333333333333333333301";

ByteVector bytes_of(std::string_view hex) {
    ByteVector out;
    for (std::size_t at = 0; at < hex.size(); at += 2) {
        out.push_back(
            static_cast<std::byte>(std::stoul(std::string(hex.substr(at, 2)), nullptr, 16)));
    }
    return out;
}

template <typename Id>
Id id_of(unsigned char byte) {
    Id id;
    id.bytes.fill(std::byte{byte});
    return id;
}

HeldPoint nightly() {
    return {.id = id_of<PointId>(0x22),
            .generation = Generation{3},
            .cut = Seq{40},
            .source_time = WallMicros{1'700'000'000'000'000},
            .kind = pipeline::PointKind::app,
            .tag = "nightly"};
}

VolumeState known_state() {
    return {.disk = id_of<DiskId>(0x11),
            .size_bytes = 1 * mib,
            .target_path = "/t",
            .target_identity = "file 1 2",
            .point = nightly(),
            .log_number = 7,
            .generation = Generation{3},
            .received = Seq{41}};
}

void expect_same(const HeldPoint& got, const HeldPoint& want) {
    EXPECT_EQ(got.id, want.id);
    EXPECT_EQ(got.cut, want.cut);
    EXPECT_EQ(got.kind, want.kind);
    EXPECT_EQ(got.tag, want.tag);
    EXPECT_EQ(got.group, want.group);
    EXPECT_EQ(got.provisional, want.provisional);
}

class GroupsOfTargets : public VolumeTest {
protected:
    GroupsOfTargets() {
        retention_us_ = 3'600'000'000;
        storage_ = std::make_unique<fakes::SimStorage>(1);
        disk_ = std::make_unique<CutDisk>(*storage_, 0);
        EXPECT_TRUE(disk_->create_directories("/d"));
    }
    // Everything up to the stream's n-th point, which is one of a group.
    std::unique_ptr<VolumeWriter> fed(std::size_t points) {
        begin(stream_, 5);
        auto writer = open().value();
        fed_ = 0;
        feed_points(*writer, points);
        return writer;
    }
    // That many points more; every one is promised to group_.
    void feed_points(VolumeWriter& writer, std::size_t points) {
        while (points > 0 && fed_ < stream_.steps.size()) {
            const Step& step = stream_.steps[fed_++];
            Record record = step.make(*pool_);
            if (step.type == RecordType::point) {
                pipeline::Point point = pipeline::decode_point(record.table.bytes()).value();
                point.group = group_;
                point.provisional = true;
                const ByteVector bytes = pipeline::encode_point(point);
                std::ranges::copy(bytes, record.table.bytes().begin());
                --points;
            }
            ASSERT_TRUE(writer.take(record));
            ASSERT_TRUE(merge(writer));
        }
    }
    Result<void> decide(VolumeWriter& writer, const PointId& point, bool committed,
                        const GroupId& group) {
        Record record;
        record.header.type = RecordType::point_result;
        const ByteVector bytes =
            pipeline::encode_point_result({.id = point, .group = group, .committed = committed});
        record.table = pipeline::TableBuffer(block_bytes);
        std::ranges::copy(bytes, record.table.bytes().begin());
        return writer.take(record);
    }
    std::vector<HeldPoint> listed() { return list_points(*disk_, "/beside").value().points; }

    const Stream stream_{3};
    const GroupId group_ = id_of<GroupId>(0x33);
    std::size_t fed_ = 0;
};

TEST_F(GroupsOfTargets, AStateOfAnOlderProgramIsReadAndWrittenAsItWas) {
    ASSERT_TRUE(write_file_atomically(*disk_, "/d/state", bytes_of(old_state)));
    const VolumeState state = read_volume_state(*disk_, "/d/state").value();
    expect_same(*state.point, nightly());
    EXPECT_TRUE(state.point->group.is_nil());
    EXPECT_TRUE(state.machine_name.empty() && state.decided.empty());
    EXPECT_EQ(state.received, Seq{41});
    ASSERT_TRUE(write_volume_state(*disk_, "/d/state", state));
    EXPECT_EQ(storage_->contents("/d/state"), bytes_of(old_state));
}

TEST_F(GroupsOfTargets, AStateKeepsGroupNameAndDecisions) {
    VolumeState state = known_state();
    state.point->group = id_of<GroupId>(0x33);
    state.machine_name = "web-1";
    state.decided = {id_of<PointId>(0x44)};
    ASSERT_TRUE(write_volume_state(*disk_, "/d/state", state));
    EXPECT_EQ(storage_->contents("/d/state"), bytes_of(new_state));
    const VolumeState read = read_volume_state(*disk_, "/d/state").value();
    expect_same(*read.point, *state.point);
    EXPECT_EQ(read.machine_name, "web-1");
    EXPECT_EQ(read.decided, state.decided);
}

TEST_F(GroupsOfTargets, AnotherLengthOrAnUnknownBitIsRefused) {
    const ByteVector whole = bytes_of(new_state);
    const auto with_crc = [](ByteVector bytes) {
        ByteVector out;
        ByteAppender(out).u32(crc32c(Bytes(bytes).subspan(4)));
        std::ranges::copy(out, bytes.begin());
        return bytes;
    };
    const auto read = [&](const ByteVector& bytes) {
        EXPECT_TRUE(write_file_atomically(*disk_, "/d/state", with_crc(bytes)));
        return read_volume_state(*disk_, "/d/state");
    };
    ASSERT_TRUE(read(whole));
    for (std::size_t size = 9; size < whole.size(); ++size) {
        const ByteVector part(whole.begin(), whole.begin() + static_cast<long>(size));
        ASSERT_EQ(read(part).error().code, Errc::record_corrupt) << size;
    }
    ByteVector longer = whole;
    longer.push_back({});
    EXPECT_EQ(read(longer).error().code, Errc::record_corrupt);
    ByteVector later = whole;
    later[9] |= std::byte{64};
    EXPECT_EQ(read(later).error().code, Errc::record_corrupt);
    ByteVector half = bytes_of(old_state);  // A group that is told of, and is none.
    half[9] |= std::byte{8};
    half.resize(half.size() + 17);
    EXPECT_EQ(read(half).error().code, Errc::record_corrupt);
    ByteVector nameless = bytes_of(old_state);
    nameless[9] |= std::byte{16};
    nameless.resize(nameless.size() + 2);
    EXPECT_EQ(read(nameless).error().code, Errc::record_corrupt);
}

TEST_F(GroupsOfTargets, AnUndoLogOfAnOlderProgramReturnsToAPointWithoutAGroup) {
    ByteVector bytes = bytes_of(old_head);
    bytes.resize(block_bytes);
    ASSERT_TRUE(write_file_atomically(*disk_, "/d/undo.7", bytes));
    const auto log = UndoLog::open(*disk_, "/d/undo.7", 7).value();
    ASSERT_NE(log, nullptr);
    expect_same(log->point(), nightly());
}

TEST_F(GroupsOfTargets, AnUndoLogKeepsTheGroupOfItsPoint) {
    HeldPoint point = nightly();
    point.group = id_of<GroupId>(0x33);
    point.provisional = true;
    ASSERT_TRUE(UndoLog::create(*disk_, "/d/undo.7", 7, point).value()->finish());
    ByteVector bytes = bytes_of(new_head);
    bytes.resize(block_bytes);
    EXPECT_EQ(storage_->contents("/d/undo.7"), bytes);
    expect_same(UndoLog::open(*disk_, "/d/undo.7", 7).value()->point(), point);
}

TEST_F(GroupsOfTargets, APointIsOneOfItsGroupOnceThatIsDecided) {
    auto writer = fed(1);
    const PointId first = points_of(stream_)[0]->point;
    EXPECT_EQ(listed()[0].group, group_);
    EXPECT_TRUE(listed()[0].provisional);
    ASSERT_TRUE(decide(*writer, first, true, id_of<GroupId>(0x55)));   // Another group's.
    ASSERT_TRUE(decide(*writer, id_of<PointId>(0x55), true, group_));  // Another point's.
    EXPECT_TRUE(listed()[0].provisional);
    ASSERT_TRUE(decide(*writer, first, true, group_));
    EXPECT_FALSE(listed()[0].provisional);
    writer = open().value();
    feed_points(*writer, 1);
    ASSERT_EQ(listed().size(), 2U);
    EXPECT_TRUE(listed()[0].provisional);
    EXPECT_EQ(listed()[1].id, first);
    EXPECT_FALSE(listed()[1].provisional);
}

TEST_F(GroupsOfTargets, ADecisionMayComeWhenALaterPointIsHeld) {
    auto writer = fed(2);
    const PointId first = points_of(stream_)[0]->point;
    ASSERT_TRUE(decide(*writer, first, true, group_));
    for (int start = 0; start < 2; ++start) {
        ASSERT_EQ(listed().size(), 2U);
        EXPECT_TRUE(listed()[0].provisional);
        EXPECT_FALSE(listed()[1].provisional);
        writer.reset();
        writer = open().value();
    }
    ASSERT_TRUE(decide(*writer, first, true, group_));  // Given out again: nothing new.
    EXPECT_EQ(read_volume_state(*disk_, "/beside/state")->decided.size(), 1U);
    ASSERT_TRUE(writer->begin_switch(first));
    EXPECT_FALSE(read_volume_state(*disk_, "/beside/state")->point->provisional);
}

TEST_F(GroupsOfTargets, DecisionsGoWithTheirPoints) {
    retention_us_ = 1'500'000;  // Points are a second apart.
    auto writer = fed(2);
    ASSERT_TRUE(decide(*writer, points_of(stream_)[0]->point, true, group_));
    EXPECT_EQ(read_volume_state(*disk_, "/beside/state")->decided.size(), 1U);
    feed_points(*writer, 2);
    EXPECT_TRUE(read_volume_state(*disk_, "/beside/state")->decided.empty());
}

TEST_F(GroupsOfTargets, ARevokedPointIsNoneOfItsGroup) {
    auto writer = fed(1);
    ASSERT_TRUE(decide(*writer, points_of(stream_)[0]->point, false, group_));
    EXPECT_TRUE(listed()[0].provisional);
}

TEST_F(GroupsOfTargets, TheNameOfAMachineOutlivesWhatWasCollected) {
    auto writer = fed(1);
    ASSERT_TRUE(writer->name_machine("web-1"));
    const auto name = [&] { return read_volume_state(*disk_, "/beside/state")->machine_name; };
    EXPECT_EQ(name(), "web-1");
    writer = open().value();
    feed_points(*writer, 1);
    EXPECT_EQ(name(), "web-1");
    ASSERT_TRUE(writer->cancel());
    EXPECT_EQ(name(), "web-1");
}

}  // namespace
}  // namespace cw::volume::test
