// What an agent says of its mode: MODE and EXTENTS become notices for people, whatever a peer makes
// of them, and cost nothing that grows with their number.
#include "ingest/mode_news.h"
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using ingest::AgentNotice;
using ingest::ModeNews;
using wire::FrameType;
using wire::ReplicationMode;
using Ranges = std::vector<wire::Extents::Range>;

class ModeTest : public testing::Test {
protected:
    void SetUp() override { open(2); }
    void open(std::size_t disks) {
        rig = std::make_unique<SessionRig>(server);
        rig->open(plain_hello(disks));
        rig->session->outbox().notices.clear();
    }
    void say(ReplicationMode mode, std::uint64_t backlog = 0, std::string reason = {}) {
        rig->feed(message_frame(FrameType::mode, rig->session->id(),
                                wire::Mode{mode, backlog, std::move(reason)}));
    }
    void list(std::uint16_t slot, const Ranges& ranges) {
        rig->feed(
            message_frame(FrameType::extents, rig->session->id(), wire::Extents{ranges}, slot));
    }
    // As the codec would refuse to write it.
    void list_raw(std::uint32_t count, const Ranges& ranges, std::uint16_t slot = 0) {
        ByteVector payload;
        ByteAppender out(payload);
        out.u32(count);
        for (const auto& range : ranges) {
            out.u64(range.offset);
            out.u64(range.length);
        }
        rig->feed(wire::encode_control_frame(
            {.type = FrameType::extents, .disk_slot = slot, .session = rig->session->id()},
            payload));
    }
    std::deque<AgentNotice> notices() { return std::exchange(rig->session->outbox().notices, {}); }
    void tick(std::int64_t ns) {
        server.clock.advance(ns);
        rig->session->on_tick(server.clock.boot());
    }
    ServerRig server;
    std::unique_ptr<SessionRig> rig;
};

TEST_F(ModeTest, EveryModeAndEachDisksListIsToldOn) {
    say(ReplicationMode::metadata, 12'288, "the queue is full");
    list(0, {{0, 4096}, {8192, 512}});
    list(1, {{4096, 4096}});
    const auto told = notices();
    ASSERT_EQ(told.size(), 3U);
    EXPECT_EQ(told[0].kind, AgentNotice::Kind::mode);
    EXPECT_EQ(told[0].mode, ReplicationMode::metadata);
    EXPECT_EQ(told[0].backlog_bytes, 12'288U);
    EXPECT_EQ(told[0].reason, "the queue is full");
    EXPECT_EQ(told[1].kind, AgentNotice::Kind::extents);
    EXPECT_EQ(told[1].disk, id_of<DiskId>(1));
    EXPECT_EQ(told[1].unread_bytes, 4608U);
    EXPECT_EQ(told[1].unread_ranges, 2U);
    EXPECT_EQ(told[2].disk, id_of<DiskId>(2));
    say(ReplicationMode::bitmap, 65'536, "");
    say(ReplicationMode::data);
    const auto later = notices();
    ASSERT_EQ(later.size(), 2U);
    EXPECT_EQ(later[0].mode, ReplicationMode::bitmap);
    EXPECT_EQ(later[1].mode, ReplicationMode::data);
}

TEST_F(ModeTest, ListsThatBreakARuleEndTheSession) {
    struct Case {
        const char* name;
        std::uint32_t count;
        Ranges ranges;
        Errc code;
    };
    const Case cases[] = {
        {"more than there are", 2, {{0, 4096}}, Errc::frame_malformed},
        {"fewer than there are", 1, {{0, 4096}, {8192, 512}}, Errc::frame_malformed},
        {"a count without end", 0xffff'ffff, {{0, 4096}}, Errc::frame_malformed},
        {"one too many", 4097, Ranges(4097, {0, 4096}), Errc::frame_malformed},
        {"empty range", 1, {{0, 0}}, Errc::frame_malformed},
        {"overlap", 2, {{0, 8192}, {4096, 4096}}, Errc::frame_malformed},
        {"descending", 2, {{8192, 512}, {0, 512}}, Errc::frame_malformed},
        {"twice the same", 2, {{0, 512}, {0, 512}}, Errc::frame_malformed},
        {"not in sectors", 1, {{100, 512}}, Errc::frame_malformed},
        {"half a sector", 1, {{512, 100}}, Errc::frame_malformed},
        {"around the end of numbers", 1, {{512, 0 - std::uint64_t{512}}}, Errc::frame_malformed},
        {"beyond what a disk can be", 1, {{wire::disk_bytes_max, 512}}, Errc::frame_malformed},
        {"behind the disk", 1, {{test_disk_bytes, 512}}, Errc::size_mismatch},
        {"over its end", 1, {{test_disk_bytes - 512, 1024}}, Errc::size_mismatch},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        open(2);
        list_raw(c.count, c.ranges);
        EXPECT_EQ(rig->error_code(), c.code);
        for (const auto& notice : notices()) {
            EXPECT_EQ(notice.kind, AgentNotice::Kind::closed);
        }
    }
    open(2);
    list_raw(1, {{0, 512}}, 2);
    EXPECT_EQ(rig->error_code(), Errc::frame_malformed);  // A disk that HELLO did not name.
}

TEST_F(ModeTest, ModesThatBreakARuleEndTheSession) {
    for (const unsigned mode : {0U, 4U, 255U}) {
        open(1);
        ByteVector payload = wire::encode(wire::Mode{ReplicationMode::data, 0, "x"});
        payload[0] = static_cast<std::byte>(mode);
        rig->feed(wire::encode_control_frame(
            {.type = FrameType::mode, .session = rig->session->id()}, payload));
        EXPECT_EQ(rig->error_code(), Errc::frame_malformed);
    }
    open(1);
    ByteVector payload = wire::encode(wire::Mode{ReplicationMode::data, 0, "x"});
    payload.push_back(std::byte{});
    rig->feed(wire::encode_control_frame({.type = FrameType::mode, .session = rig->session->id()},
                                         payload));
    EXPECT_EQ(rig->error_code(), Errc::frame_malformed);
}

TEST_F(ModeTest, TheLargestListIsTaken) {
    Ranges most;
    for (std::uint64_t i = 0; i < wire::extents_max; ++i) {
        most.push_back({i * 1024, 512});
    }
    list(0, most);
    const auto told = notices();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].unread_ranges, wire::extents_max);
    EXPECT_TRUE(rig->session->live());
}

TEST_F(ModeTest, AFloodCostsAFewNoticesAndTheLastWordIsKept) {
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        say(i % 2 == 0 ? ReplicationMode::bitmap : ReplicationMode::metadata, i);
        list(static_cast<std::uint16_t>(i % 2), {{0, 512 * (1 + i % 8)}});
        rig->session->flush();
        rig->session->output().clear();
        ASSERT_LE(rig->session->outbox().notices.size(), 16U);
    }
    EXPECT_LE(notices().size(), 16U);
    tick(500 * ns_per_ms);
    tick(500 * ns_per_ms);
    const auto told = notices();
    ASSERT_GE(told.size(), 2U);
    EXPECT_LE(told.size(), 17U);
    EXPECT_EQ(told[0].backlog_bytes, 9'999U);
    EXPECT_EQ(told[0].mode, ReplicationMode::metadata);
    EXPECT_EQ(told[1].unread_bytes, 8 * 512U);  // Of slot 1, said after that MODE.
    EXPECT_EQ(told.size(), 2U);
}

TEST(ModeNewsTest, AModeMakesTheListsBeforeItWorthless) {
    ModeNews news;
    news.take(ModeNews::Unread{.disk = id_of<DiskId>(1), .bytes = 512, .ranges = 1});
    news.take(wire::Mode{ReplicationMode::data, 0, {}});
    const auto first = news.next(Nanos{});
    ASSERT_TRUE(first && std::holds_alternative<wire::Mode>(*first));
    EXPECT_FALSE(news.next(Nanos{}).has_value());
}

TEST(ModeNewsTest, AllDisksAreToldInTheEndHoweverManyThereAre) {
    ModeNews news;
    for (int round = 0; round < 3; ++round) {
        for (std::uint16_t i = 0; i < 256; ++i) {
            news.take(ModeNews::Unread{
                .disk = id_of<DiskId>(static_cast<std::uint8_t>(i)), .bytes = 512, .ranges = 1});
        }
    }
    std::size_t told = 0;
    for (std::int64_t half_seconds = 0; half_seconds < 31; ++half_seconds) {
        while (news.next(Nanos{} + half_seconds * ns_per_s / 2)) {
            ++told;
        }
    }
    EXPECT_EQ(told, 256U);
}

}  // namespace
}  // namespace cw::test
