// Points, fences and farewells: what orders a machine's disks against one another and in time.
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using pipeline::DiskAction;
using pipeline::RecordType;
using wire::FrameType;

class PointTest : public testing::Test {
protected:
    void open_and_write(std::uint16_t disks) {
        rig.open(plain_hello(disks));
        for (std::uint16_t slot = 0; slot < disks; ++slot) {
            rig.feed(write_frame(rig.at(1, slot), {{}, {8192}}));
        }
        (void)rig.answers();
        rig.records.clear();
    }
    void expect_dropped(const pipeline::Point& point, std::string_view why) {
        rig.feed(point_frame(rig.session->id(), point));
        EXPECT_TRUE(rig.records.empty());
        const auto status = rig.answer_of(FrameType::point_status).as<wire::PointStatus>();
        EXPECT_EQ(status.id, point.id);
        EXPECT_EQ(status.state, wire::PointState::dropped);
        EXPECT_NE(status.reason.find(why), std::string::npos) << status.reason;
        EXPECT_TRUE(rig.session->live());
    }

    ServerRig server;
    SessionRig rig{server};
};

TEST_F(PointTest, PointAtTheLastSequencesIsStoredAsItCame) {
    open_and_write(2);
    rig.feed(point_frame(rig.session->id(), plain_point(9, {2, 2})));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].type, RecordType::point);
    EXPECT_TRUE(rig.records[0].key.disk.is_nil());
    EXPECT_EQ(rig.records[0].seq_count, 0U);
    const auto point = pipeline::decode_point(rig.last_record.table.bytes());
    ASSERT_TRUE(point);
    EXPECT_EQ(point->id, id_of<PointId>(9));
}

// The spool accounts for every record's payload alike, points included.
TEST_F(PointTest, PointIsChargedAndSettledLikeAnyRecord) {
    open_and_write(1);
    const std::uint64_t reserved = server.credit.reserved();
    const std::uint64_t in_flight = rig.session->credit().in_flight();
    rig.feed(point_frame(rig.session->id(), plain_point(9, {2})));
    EXPECT_EQ(server.credit.reserved(), reserved + 4096);
    EXPECT_EQ(rig.session->credit().in_flight(), in_flight + 4096);
    rig.make_durable();
    EXPECT_EQ(rig.session->credit().in_flight(), in_flight);
}

TEST_F(PointTest, DurablePointIsToldToTheAgent) {
    open_and_write(1);
    pipeline::Spooled notice;
    notice.key.machine = rig.session->machine();
    notice.session = rig.session->id();
    notice.points = {id_of<PointId>(9)};
    rig.session->on_spooled(notice);
    const auto status = rig.answer_of(FrameType::point_status).as<wire::PointStatus>();
    EXPECT_EQ(status.state, wire::PointState::durable);
}

TEST_F(PointTest, CutOtherThanTheLastSequenceIsDropped) {
    open_and_write(2);
    expect_dropped(plain_point(1, {2, 1}), "cut at 1");
    expect_dropped(plain_point(2, {2, 3}), "cut at 3");
}

TEST_F(PointTest, PointThatOmitsOrInventsADiskIsDropped) {
    open_and_write(2);
    expect_dropped(plain_point(1, {2}), "no cut");
    expect_dropped(plain_point(2, {2, 2, 2}), "not protected");
}

TEST_F(PointTest, PointOfAnotherGenerationIsDropped) {
    open_and_write(1);
    pipeline::Point point = plain_point(1, {2});
    point.cuts[0].generation = Generation{2};
    expect_dropped(point, "generation");
}

TEST_F(PointTest, PointWhileADiskIsStoppedIsDropped) {
    open_and_write(1);
    rig.feed(write_frame(rig.at(9), {{}}));
    (void)rig.answers();
    expect_dropped(plain_point(1, {2}), "re-send");
}

TEST_F(PointTest, NoPointBetweenFenceAndResyncEnd) {
    open_and_write(1);
    rig.feed(resync_begin_frame(rig.at(3), wire::ResyncKind::resync));
    rig.records.clear();
    expect_dropped(plain_point(1, {3}), "synchronised");
    rig.feed(empty_frame(FrameType::resync_end, rig.at(4)));
    rig.feed(point_frame(rig.session->id(), plain_point(2, {4})));
    ASSERT_EQ(rig.records.size(), 2U);
    EXPECT_EQ(rig.records[0].type, RecordType::resync_end);
    EXPECT_EQ(rig.records[1].type, RecordType::point);
}

TEST_F(PointTest, GroupResultIsStored) {
    open_and_write(1);
    rig.feed(point_result_frame(rig.session->id(), {id_of<PointId>(3), id_of<GroupId>(4), true}));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].type, RecordType::point_result);
}

TEST_F(PointTest, MalformedPointEndsTheSession) {
    open_and_write(1);
    ByteVector frame = point_frame(rig.session->id(), plain_point(1, {2}));
    const auto table = MutableBytes(frame).subspan(wire::frame_header_bytes);
    table[4] = std::byte{99};  // No such kind.
    const auto head = wire::encode_frame_header({.type = FrameType::point,
                                                 .payload_bytes = 4096,
                                                 .table_bytes = 4096,
                                                 .session = rig.session->id(),
                                                 .table_crc = crc32c(table)});
    std::copy(head.begin(), head.end(), frame.begin());
    rig.feed(frame);
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

class FenceTest : public testing::Test {
protected:
    Place base_at(std::uint64_t fence, std::uint32_t ordinal) const {
        Place place = rig.at(fence);
        place.ordinal = ordinal;
        return place;
    }
    static constexpr std::uint64_t chunk = wire::super_chunk_bytes;

    ServerRig server;
    SessionRig rig{server};
};

TEST_F(FenceTest, InitialDiskMustBeginWithItsFence) {
    rig.open(plain_hello(), DiskAction::initial);
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1), {{}}));
    const auto nak = rig.answer_of(FrameType::nak).as<wire::Nak>();
    EXPECT_EQ(nak.reason, wire::NakReason::generation);
    EXPECT_EQ(nak.expected, Seq{1});
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(write_frame(rig.at(2), {{}}));
    ASSERT_EQ(rig.records.size(), 2U);
    EXPECT_EQ(rig.records[0].type, RecordType::resync_begin);
    EXPECT_EQ(pipeline::resync_kind_of(rig.records[0]), raw(wire::ResyncKind::initial));
    EXPECT_EQ(pipeline::disk_size_of(rig.records[0]), test_disk_bytes);
}

// The log alone must be enough to publish what it holds: see pipeline/record.h.
TEST_F(FenceTest, EveryRecordOfADiskTellsItsSize) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(base_frame(base_at(1, 0), {{}}));
    rig.feed(write_frame(rig.at(2), {{}}));
    rig.feed(resize_frame(rig.at(3), test_disk_bytes + mib));
    rig.feed(write_frame(rig.at(4), {{}}));
    rig.feed(empty_frame(FrameType::resync_end, rig.at(5)));
    ASSERT_EQ(rig.records.size(), 6U);
    for (std::size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(pipeline::disk_size_of(rig.records[i]), test_disk_bytes + (i < 3 ? 0 : mib)) << i;
    }
}

TEST_F(FenceTest, BaseCarriesItsFenceAndOrdinalAndConsumesNoSequence) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(base_frame(base_at(1, 3), {{3 * chunk, 4096}, {4 * chunk - 4096, 4096}}));
    rig.feed(write_frame(rig.at(2), {{}}));
    ASSERT_EQ(rig.records.size(), 3U);
    EXPECT_EQ(rig.records[1].type, RecordType::base);
    EXPECT_EQ(rig.records[1].seq, Seq{1});
    EXPECT_EQ(rig.records[1].seq_count, 0U);
    EXPECT_EQ(rig.records[1].ordinal, 3U);
    rig.make_durable();
    const auto ack = rig.answer_of(FrameType::ack).as<wire::Ack>();
    EXPECT_EQ(ack.disks.at(0).fence, Seq{1});
    EXPECT_EQ(ack.disks.at(0).base_spooled, std::vector<std::uint32_t>{3});
}

TEST_F(FenceTest, BaseBeyondItsSuperChunkEndsTheSession) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(base_frame(base_at(1, 1), {{2 * chunk, 4096}}));
    EXPECT_EQ(rig.error_code(), Errc::size_mismatch);
    SessionRig below(server);
    below.open(plain_hello(), DiskAction::initial);
    below.feed(resync_begin_frame(below.at(1), wire::ResyncKind::initial));
    Place place = below.at(1);
    place.ordinal = 1;
    below.feed(base_frame(place, {{chunk - 512, 1024}}));
    EXPECT_EQ(below.error_code(), Errc::size_mismatch);
}

TEST_F(FenceTest, CorruptBaseEndsTheSessionSoThatTheBitmapTellsWhatIsMissing) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    ByteVector bad = base_frame(base_at(1, 0), {{0, 4096}});
    bad.back() ^= std::byte{1};
    rig.feed(bad);
    EXPECT_EQ(rig.error_code(), Errc::payload_corrupt);
}

TEST_F(FenceTest, BaseOfAFenceThatIsNotOpenIsNaked) {
    rig.open(plain_hello());
    (void)rig.answers();
    rig.feed(base_frame(base_at(5, 0), {{}}));
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::generation);
    EXPECT_TRUE(rig.records.empty());
    EXPECT_EQ(rig.session->credit().in_flight(), 0U);
}

TEST_F(FenceTest, BaseIsTakenWhileTheDisksWritesAreStopped) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(write_frame(rig.at(7), {{}}));  // A gap.
    rig.feed(base_frame(base_at(1, 0), {{}}));
    ASSERT_EQ(rig.records.size(), 2U);
    EXPECT_EQ(rig.records[1].type, RecordType::base);
}

TEST_F(FenceTest, OpenFenceIsContinuedAfterReconnecting) {
    rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
    auto opened = rig.answer(DiskAction::initial, Seq{4});
    opened.disks[0].resync_open = true;
    opened.disks[0].fence = Seq{1};
    opened.disks[0].base_durable = {std::byte{3}};
    rig.session->outbox().open.reset();
    rig.session->on_opened(std::move(opened));
    const auto welcome = rig.answer_of(FrameType::welcome).as<wire::Welcome>();
    EXPECT_EQ(welcome.disks.at(0).base_durable, ByteVector{std::byte{3}});
    rig.feed(base_frame(base_at(1, 2), {{2 * chunk}}));
    rig.feed(write_frame(rig.at(5), {{}}));
    EXPECT_EQ(rig.records.size(), 2U);
}

TEST_F(FenceTest, CatchUpFenceMayLieAboveTheExpectedSequenceOnlyOnce) {
    rig.open(plain_hello(), DiskAction::catch_up, Seq{10});
    rig.feed(resync_begin_frame(rig.at(500), wire::ResyncKind::catch_up));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.session->streams()[0].next_seq(), Seq{501});
    (void)rig.answers();
    rig.feed(resync_begin_frame(rig.at(900), wire::ResyncKind::catch_up));
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().expected, Seq{501});
}

TEST_F(FenceTest, G5ResyncEndIsTakenOnlyOverAllTheBaseItCounts) {
    rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
    auto opened = rig.answer(DiskAction::continue_, Seq{4});
    opened.disks[0].resync_open = true;
    opened.disks[0].fence = Seq{1};
    opened.disks[0].base_durable = {std::byte{3}};
    rig.session->outbox().open.reset();
    rig.session->on_opened(std::move(opened));
    rig.feed(base_frame(base_at(1, 1), {{chunk}}));  // Again: counted once.
    (void)rig.answers();
    rig.feed(empty_frame(FrameType::resync_end, base_at(5, 3)));
    const auto nak = rig.answer_of(FrameType::nak).as<wire::Nak>();
    EXPECT_EQ(nak.reason, wire::NakReason::generation);
    EXPECT_EQ(nak.expected, Seq{5});
    EXPECT_EQ(rig.records.size(), 1U);
    rig.feed(base_frame(base_at(1, 2), {{2 * chunk}}));
    rig.feed(empty_frame(FrameType::resync_end, base_at(5, 3)));
    ASSERT_EQ(rig.records.size(), 3U);
    EXPECT_EQ(rig.records[2].type, RecordType::resync_end);
    EXPECT_EQ(rig.records[2].ordinal, 3U);
}

TEST_F(FenceTest, ANewFenceHoldsNothingOfTheOneBefore) {
    rig.open(plain_hello(), DiskAction::initial);
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.feed(base_frame(base_at(1, 0), {{}}));
    rig.feed(resync_begin_frame(rig.at(2), wire::ResyncKind::initial));
    (void)rig.answers();
    rig.feed(empty_frame(FrameType::resync_end, base_at(3, 1)));
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::generation);
}

TEST_F(FenceTest, ResyncEndWithoutAFenceEndsTheSession) {
    rig.open(plain_hello());
    rig.feed(empty_frame(FrameType::resync_end, rig.at(1)));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

TEST_F(FenceTest, RejectedDiskIsNakedAndOthersGoOn) {
    rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello(2)));
    auto opened = rig.answer(DiskAction::continue_, Seq{});
    opened.disks[0].action = DiskAction::reject;
    rig.session->outbox().open.reset();
    rig.session->on_opened(std::move(opened));
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1, 0), {{}}));
    rig.feed(write_frame(rig.at(1, 1), {{}}));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::quota);
    rig.feed(point_frame(rig.session->id(), [] {
        pipeline::Point point = plain_point(1, {0, 1});
        point.cuts.erase(point.cuts.begin());
        return point;
    }()));
    EXPECT_EQ(rig.records.size(), 2U);
}

}  // namespace
}  // namespace cw::test
