// Credit: the bound on what peers may have under way, whatever they do.
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using wire::FrameType;

TEST(Credit, MoreThanTheCreditEndsTheSession) {
    ServerRig server;
    server.credit.set_budget(9 * mib);
    SessionRig rig(server);
    rig.open(plain_hello());
    rig.feed(write_frame(rig.at(1), {{0, 8 * mib}}));
    ASSERT_EQ(rig.records.size(), 1U);
    (void)rig.answers();
    const ByteVector more = write_frame(rig.at(2), {{0, 8 * mib}});
    const auto header = wire::decode_frame_header(Bytes(more).first(wire::frame_header_bytes));
    const auto checked = rig.session->check_header(*header);  // Before any memory is taken.
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, Errc::quota_exceeded);
    rig.feed(more);
    EXPECT_EQ(rig.error_code(), Errc::quota_exceeded);
    EXPECT_EQ(rig.records.size(), 1U);
}

TEST(Credit, NeverDecreasesAndGrowsAsPayloadBecomesDurable) {
    ServerRig server;
    SessionRig rig(server);
    rig.open(plain_hello());
    std::uint64_t last = rig.session->credit().granted();
    bool grew = false;
    for (std::uint64_t seq = 1; seq <= 40; ++seq) {
        rig.feed(write_frame(rig.at(seq), {{0, mib}}));
        rig.make_durable();
        for (const OutFrame& frame : rig.answers()) {
            if (frame.header.type == FrameType::credit) {
                const auto credit = frame.as<wire::Credit>();
                EXPECT_GT(credit.cumulative_bytes, last);
                last = credit.cumulative_bytes;
                grew = true;
            }
        }
        ASSERT_TRUE(rig.session->live());
    }
    EXPECT_TRUE(grew);
}

TEST(Credit, StopsGrowingWhenTheCacheIsFullAndGoesOnAfterwards) {
    ServerRig server;
    server.credit.set_budget(0);
    SessionRig rig(server);
    rig.open(plain_hello());
    EXPECT_EQ(rig.answer_of(FrameType::welcome).as<wire::Welcome>().credit_bytes, 0U);
    rig.session->on_tick(server.clock.boot());
    EXPECT_TRUE(rig.answers().empty());
    server.credit.set_budget(64 * mib);
    rig.session->on_tick(server.clock.boot());
    EXPECT_EQ(rig.answer_of(FrameType::credit).as<wire::Credit>().cumulative_bytes, 16 * mib);
}

TEST(Credit, IsSharedFairlyAndAlwaysAdmitsTheLargestFrame) {
    ingest::SharedCredit credit(100 * mib, 64 * mib);
    EXPECT_EQ(credit.window_bytes(), 64 * mib);
    for (int i = 0; i < 4; ++i) {
        credit.session_began();
    }
    EXPECT_EQ(credit.window_bytes(), 25 * mib);
    for (int i = 0; i < 96; ++i) {
        credit.session_began();
    }
    EXPECT_EQ(credit.window_bytes(), ingest::credit_window_min);
    EXPECT_TRUE(credit.reserve(100 * mib));
    EXPECT_FALSE(credit.reserve(1));
    credit.unreserve(1);
    EXPECT_TRUE(credit.reserve(1));
}

TEST(Credit, SmallestWindowNeverStallsLargeFrames) {
    ServerRig server;
    server.credit.set_budget(ingest::credit_window_min);
    SessionRig rig(server);
    rig.open(plain_hello());
    for (std::uint64_t seq = 1; seq <= 10; ++seq) {
        const std::uint32_t length = seq % 2 == 0 ? 8 * mib : 512;
        rig.feed(write_frame(rig.at(seq), {{0, length}}));
        ASSERT_EQ(rig.records.size(), 1U) << seq;
        for (const auto& record : rig.records) {
            server.credit.consume(record.table_bytes + record.data_bytes);
        }
        rig.make_durable();
        ASSERT_GE(rig.session->credit().available(), ingest::credit_window_min - 256 * kib) << seq;
    }
}

TEST(Credit, EveryReservationComesBackWhenSessionsEnd) {
    ServerRig server;
    std::uint64_t handed_over = 0;
    {
        SessionRig rig(server);
        rig.open(plain_hello());
        rig.feed(write_frame(rig.at(1), {{0, mib}}));
        rig.feed(write_frame(rig.at(1), {{0, mib}}));  // A duplicate: discarded.
        rig.feed(write_frame(rig.at(9), {{0, mib}}));  // A gap: discarded.
        ASSERT_EQ(rig.records.size(), 1U);
        handed_over = rig.records[0].table_bytes + rig.records[0].data_bytes;
    }
    EXPECT_EQ(server.credit.reserved(), handed_over);  // The spool's to consume.
    EXPECT_EQ(server.credit.sessions(), 0U);
}

}  // namespace
}  // namespace cw::test
