// The same sequence with other content (C5), resizing (C9), and the answer to a flush.
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using pipeline::DiskAction;
using wire::FrameType;

class ConflictTest : public testing::Test {
protected:
    static wire::Nak nak_of(SessionRig& rig) {
        return rig.answer_of(FrameType::nak).as<wire::Nak>();
    }

    ServerRig server;
    SessionRig rig{server};
};

TEST_F(ConflictTest, C2_TheSameContentAgainIsADuplicate) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 4096, 7}}));
    rig.feed(write_frame(rig.at(1), {{0, 4096, 7}}));
    EXPECT_EQ(rig.records.size(), 1U);
    EXPECT_FALSE(server.conditions.standing(Errc::seq_conflict));
    EXPECT_FALSE(rig.session->closing());
}

TEST_F(ConflictTest, C5_OtherContentUnderASequenceQuarantinesTheDiskAndNoOther) {
    rig.open(plain_hello(2));
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1, 0), {{0, 4096, 7}}));
    rig.feed(write_frame(rig.at(1, 0), {{0, 4096, 8}}));
    EXPECT_EQ(rig.records.size(), 1U);
    EXPECT_TRUE(server.conditions.standing(Errc::seq_conflict));
    const wire::Nak nak = nak_of(rig);
    EXPECT_EQ(nak.reason, wire::NakReason::conflict);
    EXPECT_EQ(nak.slot, 0);
    // What follows on that disk is thrown away without a word, and its credit comes back.
    rig.feed(write_frame(rig.at(2, 0), {{0, 4096, 9}}));
    EXPECT_EQ(rig.records.size(), 1U);
    rig.feed(write_frame(rig.at(1, 1), {{0, 4096, 9}}));
    EXPECT_EQ(rig.records.size(), 2U);
    EXPECT_FALSE(rig.session->closing());
}

// In flight when the connection broke: this server has not called it durable, so it comes again.
TEST_F(ConflictTest, C5_TheFirstContentIsRememberedAcrossSessions) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 4096, 7}}));
    SessionRig second(server);
    second.open(plain_hello(1, 2));
    (void)second.answers();
    second.feed(write_frame(second.at(1), {{0, 4096, 8}}));
    EXPECT_TRUE(second.records.empty());
    EXPECT_EQ(nak_of(second).reason, wire::NakReason::conflict);
    EXPECT_TRUE(server.conditions.standing(Errc::seq_conflict));
}

TEST_F(ConflictTest, C5_AQuarantinedDiskIsRejectedUntilItBeginsANewGeneration) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 4096, 7}}));
    rig.feed(write_frame(rig.at(1), {{0, 4096, 8}}));
    SessionRig second(server);
    second.open(plain_hello(1, 2), DiskAction::continue_, Seq{1});
    const auto welcome = second.answer_of(FrameType::welcome).as<wire::Welcome>();
    EXPECT_EQ(welcome.disks[0].action, wire::DiskAction::reject);
    EXPECT_EQ(welcome.disks[0].reason.substr(0, 12), "SEQ_CONFLICT");
    EXPECT_TRUE(server.conditions.standing(Errc::seq_conflict));

    SessionRig third(server);
    third.feed(message_frame(FrameType::hello, SessionId{}, plain_hello(1, 3)));
    ASSERT_TRUE(third.session->outbox().open);
    pipeline::MachineOpened opened = third.answer(DiskAction::initial, Seq{});
    opened.disks[0].generation = Generation{2};
    third.session->outbox().open.reset();
    third.session->on_opened(std::move(opened));
    const auto fresh = third.answer_of(FrameType::welcome).as<wire::Welcome>();
    EXPECT_EQ(fresh.disks[0].action, wire::DiskAction::initial);
    EXPECT_FALSE(server.conditions.standing(Errc::seq_conflict));
}

TEST_F(ConflictTest, WhatIsRememberedIsBoundedAndTheNewestIsKept) {
    rig.open(plain_hello());
    const std::uint64_t count = ingest::StreamMemory::frames_max + 10;
    for (std::uint64_t seq = 1; seq <= count; ++seq) {
        rig.feed(write_frame(rig.at(seq), {{0, 512, 1}}));
        rig.make_durable();
        (void)rig.answers();
    }
    // Too old to be told from what it was: a duplicate all the same, and never stored.
    rig.feed(write_frame(rig.at(1), {{0, 512, 2}}));
    EXPECT_FALSE(server.conditions.standing(Errc::seq_conflict));
    rig.feed(write_frame(rig.at(count), {{0, 512, 2}}));
    EXPECT_TRUE(server.conditions.standing(Errc::seq_conflict));
    EXPECT_TRUE(rig.records.empty());
}

TEST_F(ConflictTest, FlushIsHandedOnAndAnsweredOnceEverythingBeforeItIsDurable) {
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.make_durable();
    (void)rig.answers();
    rig.feed(empty_frame(FrameType::flush, rig.at(1)));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].type, pipeline::RecordType::flush);
    EXPECT_TRUE(rig.answers().empty());
    rig.make_durable();
    const auto ack = rig.answer_of(FrameType::ack).as<wire::Ack>();
    ASSERT_EQ(ack.disks.size(), 1U);
    EXPECT_EQ(ack.disks[0].spooled, Seq{1});
}

TEST_F(ConflictTest, FlushAheadOfWhatWasSentViolatesTheProtocol) {
    rig.open(plain_hello());
    rig.feed(empty_frame(FrameType::flush, rig.at(1)));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

TEST_F(ConflictTest, C9_AResizeCountsFromItsPlaceInTheStream) {
    rig.open(plain_hello());
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1), {{test_disk_bytes, 4096, 1}}));
    EXPECT_EQ(nak_of(rig).reason, wire::NakReason::size);
    rig.feed(resize_frame(rig.at(1), 2 * test_disk_bytes));
    ASSERT_EQ(rig.records.size(), 1U);
    EXPECT_EQ(rig.records[0].type, pipeline::RecordType::resize);
    EXPECT_EQ(rig.records[0].aux, 2 * test_disk_bytes);
    rig.feed(write_frame(rig.at(2), {{test_disk_bytes, 4096, 1}}));
    EXPECT_EQ(rig.records.size(), 2U);
    rig.feed(resize_frame(rig.at(3), 4096));
    (void)rig.answers();
    rig.feed(write_frame(rig.at(4), {{4096, 4096, 1}}));
    EXPECT_EQ(nak_of(rig).reason, wire::NakReason::size);
}

TEST_F(ConflictTest, ExtentsBeyondTheDiskAreRefused) {
    rig.open(plain_hello());
    (void)rig.answers();
    wire::Extents inside{{{0, 4096}, {8192, 4096}}};
    rig.feed(message_frame(FrameType::extents, rig.session->id(), inside, 0));
    ASSERT_FALSE(rig.session->outbox().notices.empty());
    EXPECT_EQ(rig.session->outbox().notices.back().unread_bytes, 8192U);
    wire::Extents outside{{{test_disk_bytes, 4096}}};
    rig.feed(message_frame(FrameType::extents, rig.session->id(), outside, 0));
    EXPECT_EQ(rig.error_code(), Errc::size_mismatch);
}

}  // namespace
}  // namespace cw::test
