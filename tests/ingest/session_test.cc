// The stream of a session: sequences, duplicates, gaps, corruption, credit, acknowledgement.
#include "base/log.h"
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using pipeline::DiskAction;
using pipeline::RecordType;
using wire::FrameType;

class SessionTest : public testing::Test {
protected:
    ServerRig server;
    SessionRig rig{server};
};

TEST_F(SessionTest, HelloIsAnsweredByWelcomeWithCreditAndTheDurableSequence) {
    rig.open(plain_hello(2), DiskAction::continue_, Seq{41});
    const auto frame = rig.answer_of(FrameType::welcome);
    const auto welcome = frame.as<wire::Welcome>();
    EXPECT_EQ(welcome.session, rig.session->id());
    EXPECT_EQ(frame.header.session, rig.session->id());
    EXPECT_EQ(welcome.credit_bytes, ingest::credit_window_idle);
    EXPECT_EQ(server.credit.reserved(), ingest::credit_window_idle);
    ASSERT_EQ(welcome.disks.size(), 2U);
    EXPECT_EQ(welcome.disks[1].durable, Seq{41});
}

TEST_F(SessionTest, WriteBecomesARecordWithItsBytesInSlabs) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 4096, 7}, {8192, 512, 8}}));
    ASSERT_EQ(rig.records.size(), 1U);
    const pipeline::RecordHeader& header = rig.records[0];
    EXPECT_EQ(header.type, RecordType::write);
    EXPECT_EQ(header.key.machine, id_of<MachineId>(0x77));
    EXPECT_EQ(header.key.disk, id_of<DiskId>(1));
    EXPECT_EQ(header.key.generation, Generation{1});
    EXPECT_EQ(header.seq, Seq{1});
    EXPECT_EQ(header.seq_count, 2U);
    EXPECT_EQ(header.table_bytes, 4096U);
    EXPECT_EQ(header.data_bytes, 8192U);
    EXPECT_EQ(header.session, rig.session->id());
    EXPECT_EQ(rig.last_record.data_in_slab(0, 1)[0], std::byte{7});
    EXPECT_EQ(rig.last_record.data_in_slab(4096, 1)[0], std::byte{8});
}

TEST_F(SessionTest, AckIsGivenOnlyAfterTheSpoolSaysDurable) {
    rig.open(plain_hello());
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.session->flush();
    EXPECT_TRUE(rig.answers().empty());
    rig.make_durable();
    const auto ack = rig.answer_of(FrameType::ack).as<wire::Ack>();
    ASSERT_EQ(ack.disks.size(), 1U);
    EXPECT_EQ(ack.disks[0].received, Seq{1});
    EXPECT_EQ(ack.disks[0].spooled, Seq{1});
    EXPECT_EQ(ack.disks[0].committed, Seq{0});
}

TEST_F(SessionTest, ManyNoticesAreAcknowledgedByOneFrame) {
    rig.open(plain_hello());
    (void)rig.answers();
    for (std::uint64_t seq = 1; seq <= 50; ++seq) {
        rig.feed(write_frame(rig.at(seq), {{}}));
    }
    rig.make_durable();
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].as<wire::Ack>().disks[0].spooled, Seq{50});
}

TEST_F(SessionTest, CommittedIsAcknowledgedWithItsManifestBeforeThePointStatus) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.make_durable();
    (void)rig.answers();
    pipeline::Committed notice;
    notice.machine = rig.session->machine();
    notice.disks.push_back({.disk = id_of<DiskId>(1),
                            .generation = Generation{1},
                            .committed = Seq{1},
                            .fence = {},
                            .base_ordinals = {}});
    notice.points.push_back({.id = id_of<PointId>(5),
                             .state = pipeline::PointState::committed,
                             .manifest_number = 12,
                             .reason = {}});
    notice.manifest_number = 12;
    rig.session->on_committed(notice);
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 2U);
    const auto ack = frames[0].as<wire::Ack>();
    EXPECT_EQ(ack.disks[0].committed, Seq{1});
    EXPECT_EQ(ack.manifest_number, 12U);
    const auto status = frames[1].as<wire::PointStatus>();
    EXPECT_EQ(status.state, wire::PointState::committed);
    EXPECT_EQ(status.manifest_number, 12U);
}

TEST_F(SessionTest, WelcomeIsFollowedByWhatBecameOfTheNewestPoints) {
    rig.feed(message_frame(wire::FrameType::hello, SessionId{}, plain_hello()));
    pipeline::MachineOpened opened = rig.answer(DiskAction::continue_, Seq{3});
    opened.manifest_number = 12;
    opened.points.push_back({.id = id_of<PointId>(5),
                             .state = pipeline::PointState::committed,
                             .manifest_number = 12,
                             .reason = {}});
    // Committed after the answer was made; it may overtake it.
    pipeline::Committed notice;
    notice.machine = rig.session->machine();
    notice.disks.push_back({.disk = id_of<DiskId>(1),
                            .generation = Generation{1},
                            .committed = Seq{3},
                            .fence = {},
                            .base_ordinals = {}});
    notice.points.push_back({.id = id_of<PointId>(6),
                             .state = pipeline::PointState::same_as,
                             .manifest_number = 13,
                             .reason = {}});
    notice.manifest_number = 13;
    rig.session->on_committed(notice);
    rig.session->outbox().open.reset();
    rig.session->on_opened(std::move(opened));
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 4U);
    EXPECT_EQ(frames[0].as<wire::Welcome>().manifest_number, 12U);
    EXPECT_EQ(frames[1].as<wire::PointStatus>().id, id_of<PointId>(5));
    EXPECT_EQ(frames[1].as<wire::PointStatus>().state, wire::PointState::committed);
    EXPECT_EQ(frames[2].as<wire::Ack>().disks.at(0).committed, Seq{3});
    EXPECT_EQ(frames[2].as<wire::Ack>().manifest_number, 13U);
    EXPECT_EQ(frames[3].as<wire::PointStatus>().id, id_of<PointId>(6));
}

TEST_F(SessionTest, ResumeContinuesAfterTheDurableSequence) {
    rig.open(plain_hello(), DiskAction::continue_, Seq{10});
    rig.feed(write_frame(rig.at(11), {{}}));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].seq, Seq{11});
}

TEST_F(SessionTest, C2_DuplicateIsAcknowledgedAgainAndNotStored) {
    rig.open(plain_hello(), DiskAction::continue_, Seq{10});
    (void)rig.answers();
    const std::uint64_t available = rig.session->credit().available();
    rig.feed(write_frame(rig.at(9), {{}, {4096}}));
    EXPECT_TRUE(rig.records.empty());
    EXPECT_EQ(rig.session->credit().in_flight(), 0U);
    EXPECT_LT(rig.session->credit().available(), available);
    rig.session->flush();
    const auto ack = rig.answer_of(FrameType::ack).as<wire::Ack>();
    EXPECT_EQ(ack.disks[0].spooled, Seq{10});
}

TEST_F(SessionTest, C3_GapStopsOneDiskUntilTheExpectedSequenceArrives) {
    rig.open(plain_hello(2));
    (void)rig.answers();
    set_log_level(LogLevel::info);
    testing::internal::CaptureStderr();
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.feed(write_frame(rig.at(3), {{}}));
    rig.feed(write_frame(rig.at(4), {{}}));  // Discarded without another NAK.
    rig.feed(write_frame(rig.at(1, 1), {{}}));
    const std::string log = testing::internal::GetCapturedStderr();
    const std::string code(name_of(Errc::seq_gap));
    EXPECT_NE(log.find(" code=" + code + " expected=2 "), std::string::npos) << log;
    EXPECT_EQ(rig.records.size(), 2U);
    EXPECT_EQ(rig.records[1].key.disk, id_of<DiskId>(2));
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 1U);
    const auto nak = frames[0].as<wire::Nak>();
    EXPECT_EQ(nak.slot, 0);
    EXPECT_EQ(nak.reason, wire::NakReason::gap);
    EXPECT_EQ(nak.expected, Seq{2});
    rig.feed(write_frame(rig.at(2), {{}}));
    rig.feed(write_frame(rig.at(3), {{}}));
    EXPECT_EQ(rig.records.size(), 4U);
}

TEST_F(SessionTest, AFrameThatBeginsBelowAndEndsAboveTheExpectedSequenceIsAGap) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.feed(write_frame(rig.at(1), {{}, {4096}}));
    EXPECT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().expected, Seq{2});
}

TEST_F(SessionTest, TheSpoolMayAskForAResend) {
    rig.open(plain_hello());
    for (std::uint64_t seq = 1; seq <= 5; ++seq) {
        rig.feed(write_frame(rig.at(seq), {{}}));
    }
    rig.make_durable();
    (void)rig.answers();
    pipeline::Spooled notice;
    notice.key = {rig.session->machine(), id_of<DiskId>(1), Generation{1}};
    notice.session = rig.session->id();
    notice.expected = Seq{4};
    rig.session->on_spooled(notice);
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().expected, Seq{4});
    rig.feed(write_frame(rig.at(4), {{}}));
    EXPECT_EQ(rig.records.size(), 1U);
}

TEST_F(SessionTest, G9BaseThatTheSpoolNeverTakesIsNotWaitedFor) {
    rig.open(plain_hello());
    rig.feed(resync_begin_frame(rig.at(1), wire::ResyncKind::initial));
    rig.make_durable();
    (void)rig.answers();
    pipeline::Spooled notice;
    notice.key = {rig.session->machine(), id_of<DiskId>(1), Generation{1}};
    notice.session = rig.session->id();
    notice.refused_fence = Seq{7};  // Not the one that is open.
    rig.session->on_spooled(notice);
    notice.refused_fence = Seq{1};
    notice.session = SessionId{raw(rig.session->id()) + 1};  // What another one had sent.
    rig.session->on_spooled(notice);
    notice.session = rig.session->id();
    for (const OutFrame& answer : rig.answers()) {
        EXPECT_NE(answer.header.type, FrameType::nak);
    }
    notice.refused_fence = Seq{1};
    rig.session->on_spooled(notice);
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::generation);
    rig.session->on_spooled(notice);
    for (const OutFrame& answer : rig.answers()) {
        EXPECT_NE(answer.header.type, FrameType::nak) << "it was told";
    }
}

TEST_F(SessionTest, C13_CorruptExtentIsNakedAndTheResendIsTaken) {
    rig.open(plain_hello());
    ByteVector bad = write_frame(rig.at(1), {{0, 8192, 3}});
    bad.back() ^= std::byte{1};
    set_log_level(LogLevel::info);
    testing::internal::CaptureStderr();
    rig.feed(bad);
    const std::string log = testing::internal::GetCapturedStderr();
    const std::string code(name_of(Errc::payload_corrupt));
    EXPECT_NE(log.find(" code=" + code + " expected=1 "), std::string::npos) << log;
    EXPECT_TRUE(rig.records.empty());
    const auto nak = rig.answer_of(FrameType::nak).as<wire::Nak>();
    EXPECT_EQ(nak.reason, wire::NakReason::corrupt);
    EXPECT_EQ(nak.expected, Seq{1});
    EXPECT_EQ(rig.session->credit().in_flight(), 0U);
    rig.feed(write_frame(rig.at(1), {{0, 8192, 3}}));
    EXPECT_EQ(rig.records.size(), 1U);
}

TEST_F(SessionTest, CorruptTableIsNaked) {
    rig.open(plain_hello());
    ByteVector bad = write_frame(rig.at(1), {{}});
    bad[wire::frame_header_bytes + 20] ^= std::byte{1};
    rig.feed(bad);
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::corrupt);
}

TEST_F(SessionTest, WriteBeyondTheDiskIsNakedWithSize) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{test_disk_bytes - 512, 4096}}));
    EXPECT_EQ(rig.answer_of(FrameType::nak).as<wire::Nak>().reason, wire::NakReason::size);
    EXPECT_TRUE(rig.records.empty());
}

TEST_F(SessionTest, ResizeConsumesASequenceAndMovesTheBound) {
    rig.open(plain_hello());
    rig.feed(resize_frame(rig.at(1), test_disk_bytes + mib));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].type, RecordType::resize);
    EXPECT_EQ(rig.records[0].aux, test_disk_bytes + mib);
    rig.feed(write_frame(rig.at(2), {{test_disk_bytes, 4096}}));
    EXPECT_EQ(rig.records.size(), 2U);
}

TEST_F(SessionTest, MalformedTableEndsTheSession) {
    rig.open(plain_hello());
    (void)rig.answers();
    ByteVector bad = write_frame(rig.at(1), {{}});
    const auto table = MutableBytes(bad).subspan(wire::frame_header_bytes, 4096);
    table[4] = std::byte{200};  // More extents than the table holds.
    wire::FrameHeader header{.type = FrameType::write,
                             .disk_slot = 0,
                             .payload_bytes = 8192,
                             .table_bytes = 4096,
                             .seq = Seq{1},
                             .session = rig.session->id(),
                             .table_crc = crc32c(table)};
    const auto head = wire::encode_frame_header(header);
    std::copy(head.begin(), head.end(), bad.begin());
    rig.feed(bad);
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
    EXPECT_TRUE(rig.records.empty());
}

TEST_F(SessionTest, C4_FrameOfAnotherSessionIsDroppedAndCreditedAgain) {
    rig.open(plain_hello());
    (void)rig.answers();
    Place stale = rig.at(1);
    stale.session = SessionId{raw(stale.session) + 1};
    rig.feed(write_frame(stale, {{}}));
    EXPECT_TRUE(rig.records.empty());
    EXPECT_EQ(rig.session->credit().in_flight(), 0U);
    EXPECT_TRUE(rig.answers().empty());
    rig.feed(write_frame(rig.at(1), {{}}));
    EXPECT_EQ(rig.records.size(), 1U);
}

TEST_F(SessionTest, FramesThatAreNotTheAgentsEndTheSession) {
    for (const FrameType type : {FrameType::welcome, FrameType::ack, FrameType::credit,
                                 FrameType::nak, FrameType::point_status, FrameType::hello}) {
        SessionRig one(server);
        one.open(plain_hello());
        (void)one.answers();
        const ByteVector payload(type == FrameType::credit ? 8 : 64);
        const SessionId session = type == FrameType::hello ? SessionId{} : one.session->id();
        one.feed(wire::encode_control_frame({.type = type, .session = session}, payload));
        if (type != FrameType::hello) {  // HELLO cannot name a session: dropped as stale.
            EXPECT_EQ(one.error_code(), Errc::frame_malformed) << wire::name_of(type);
        }
    }
}

TEST_F(SessionTest, UnknownSlotEndsTheSession) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1, 1), {{}}));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

TEST_F(SessionTest, FirstFrameMustBeHello) {
    rig.feed(message_frame(FrameType::ping, SessionId{}, wire::Ping{}));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
    EXPECT_FALSE(SessionRig(server).session->check_header({.type = FrameType::write}));
}

TEST_F(SessionTest, FlushKeepsItsPlaceInTheStream) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.feed(empty_frame(FrameType::flush, rig.at(1)));
    ASSERT_EQ(rig.records.size(), 2U);
    EXPECT_EQ(rig.records[1].type, RecordType::flush);
    EXPECT_EQ(rig.records[1].seq_count, 0U);
    rig.feed(empty_frame(FrameType::flush, rig.at(2)));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

TEST_F(SessionTest, CountsIngestedBytesPerMachine) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 8192, 1}}));
    auto& counter = server.metrics->counter("causeway_ingest_bytes_total",
                                            {{"machine", to_string(rig.session->machine())}});
    EXPECT_EQ(counter.value(), 4096 + 8192);
}

}  // namespace
}  // namespace cw::test
