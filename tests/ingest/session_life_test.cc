// How sessions begin, wait, are displaced and end.
#include "tests/ingest/session_rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using pipeline::DiskAction;
using wire::FrameType;

class LifeTest : public testing::Test {
protected:
    ServerRig server;
};

TEST_F(LifeTest, G9_HelloThatCannotBeAcceptedIsToldWhy) {
    server.authorise = [](const Identity&, const wire::Hello& hello) -> Result<void> {
        return hello.machine_name == "evil" ? fail(Errc::authz_denied, "not admitted")
                                            : Result<void>{};
    };
    struct Case {
        Errc code;
        void (*spoil)(wire::Hello&);
    };
    const Case cases[] = {
        {Errc::version_unsupported, [](wire::Hello& h) { h.version_min = h.version_max = 2; }},
        {Errc::version_unsupported, [](wire::Hello& h) { h.features = 1ULL << 63; }},
        {Errc::authz_denied, [](wire::Hello& h) { h.machine_name = "evil"; }},
        {Errc::server_busy,
         [](wire::Hello& h) {
             h.joins = SessionId{4};
             h.disks.clear();
         }},
    };
    for (const Case& c : cases) {
        SessionRig rig(server);
        wire::Hello hello = plain_hello();
        c.spoil(hello);
        rig.feed(message_frame(FrameType::hello, SessionId{}, hello));
        EXPECT_FALSE(rig.session->outbox().open);
        EXPECT_EQ(rig.error_code(), c.code);
    }
    EXPECT_EQ(server.table.live_count(), 0U);
}

TEST_F(LifeTest, G9_UnknownOptionalFeaturesAndNewerRangesAreAccepted) {
    SessionRig rig(server);
    wire::Hello hello = plain_hello();
    hello.features = 0xffff;
    hello.version_max = 9;
    rig.open(hello);
    EXPECT_EQ(rig.answer_of(FrameType::welcome).as<wire::Welcome>().version, 1);
}

TEST_F(LifeTest, RefusalOfTheControlReachesTheAgentWithRetryAfter) {
    SessionRig rig(server);
    rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
    auto opened = rig.answer(DiskAction::continue_, Seq{});
    opened.refused = Error{Errc::server_busy, "being moved"};
    rig.session->on_opened(std::move(opened));
    const auto error = rig.answer_of(FrameType::error).as<wire::ErrorMessage>();
    EXPECT_EQ(error.code, raw(Errc::server_busy));
    EXPECT_EQ(error.retry_after_s, server.limits.retry_after_s);
    EXPECT_EQ(error.detail, "being moved");
}

TEST_F(LifeTest, AStateFromBeforeAnotherAgentTookOverIsRefusedUntilOneIsTaken) {
    SessionRig rig(server);
    rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
    auto opened = rig.answer(DiskAction::reject, Seq{});
    opened.disks.at(0).superseded = true;
    opened.disks.at(0).reason = "of origin 0";
    rig.session->on_opened(std::move(opened));
    const auto error = rig.answer_of(FrameType::error).as<wire::ErrorMessage>();
    EXPECT_EQ(error.code, raw(Errc::state_superseded));
    EXPECT_EQ(error.retry_after_s, 0U);
    EXPECT_NE(error.detail.find("of origin 0"), std::string::npos) << error.detail;
    EXPECT_TRUE(server.conditions.standing(Errc::state_superseded));
    SessionRig(server).open(plain_hello(1, 2));
    EXPECT_FALSE(server.conditions.standing(Errc::state_superseded));
}

TEST_F(LifeTest, ARefusedStateStandsUntilAnOperatorForgivesTheMachine) {
    const auto refuse = [&] {
        SessionRig rig(server);
        rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
        auto opened = rig.answer(DiskAction::reject, Seq{});
        opened.disks.at(0).superseded = true;
        rig.session->on_opened(std::move(opened));
    };
    refuse();
    EXPECT_TRUE(server.conditions.standing(Errc::state_superseded));
    server.table.forgive(id_of<MachineId>(0x77));
    EXPECT_FALSE(server.conditions.standing(Errc::state_superseded));
    refuse();  // Forgiven is the machine, not the state.
    EXPECT_TRUE(server.conditions.standing(Errc::state_superseded));
}

TEST_F(LifeTest, AnAgentThatIsRefusedForItsStateTakesNoTurn) {
    const auto refuse = [&](std::uint64_t boot) {
        SessionRig rig(server);
        rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello(1, boot)));
        auto opened = rig.answer(DiskAction::reject, Seq{});
        opened.disks.at(0).superseded = true;
        rig.session->on_opened(std::move(opened));
        EXPECT_EQ(rig.error_code(), Errc::state_superseded);
    };
    // Started again and again, or asking again and again: it cannot send the other one away.
    for (std::uint64_t n = 1; n <= 20; ++n) {
        SessionRig(server).open(plain_hello(1, 7ULL << 32));
        refuse((n % 2 == 0 ? n : 5) << 32);
    }
    EXPECT_FALSE(server.conditions.standing(Errc::identity_refused));
}

TEST_F(LifeTest, H5_FramesThatWereRecordedAndComeAgainInANewSessionStoreNothing) {
    SessionRig older(server), newer(server);
    older.open(plain_hello(1, 1));
    (void)older.answers();
    std::vector<ByteVector> recorded;
    for (std::uint64_t seq = 1; seq <= 3; ++seq) {
        recorded.push_back(write_frame(older.at(seq), {{0, 4096, 7}}));
    }
    older.feed(recorded[0]);
    EXPECT_EQ(older.records.size(), 1U);
    newer.open(plain_hello(1, 2));
    for (const ByteVector& frame : recorded) {
        newer.feed(frame);
    }
    EXPECT_TRUE(newer.records.empty());
    EXPECT_EQ(newer.session->credit().in_flight(), 0U);
    older.feed(recorded[1]);
    EXPECT_EQ(older.error_code(), Errc::stale_session);
    newer.feed(write_frame(newer.at(1), {{0, 4096, 7}}));
    EXPECT_EQ(newer.records.size(), 1U);
}

TEST_F(LifeTest, C4_NewerSessionDropsWhatTheOlderStillSends) {
    SessionRig older(server), newer(server);
    older.open(plain_hello(1, 1));
    (void)older.answers();
    newer.open(plain_hello(1, 2));
    older.feed(write_frame(older.at(1), {{}}));
    EXPECT_TRUE(older.records.empty());
    EXPECT_EQ(older.error_code(), Errc::stale_session);
    newer.feed(write_frame(newer.at(1), {{}}));
    EXPECT_EQ(newer.records.size(), 1U);
    EXPECT_EQ(server.table.live_count(), 1U);
}

TEST_F(LifeTest, IdleStaleSessionIsClosedByTheTimer) {
    SessionRig older(server), newer(server);
    older.open(plain_hello());
    (void)older.answers();
    newer.open(plain_hello());
    older.session->on_tick(server.clock.boot());
    EXPECT_EQ(older.error_code(), Errc::stale_session);
}

TEST_F(LifeTest, EverySessionThatWasOpenedIsReportedClosedOnce) {
    using Kind = ingest::AgentNotice::Kind;
    const auto closed = [](SessionRig& rig) {
        return std::ranges::count(rig.session->outbox().notices, Kind::closed,
                                  &ingest::AgentNotice::kind);
    };
    SessionRig lost(server, 1), failed(server, 2), never(server, 3);
    lost.open(plain_hello());
    lost.session->on_lost();
    lost.session->on_lost();
    EXPECT_EQ(closed(lost), 1);
    failed.open(plain_hello());
    failed.session->on_error({Errc::peer_slow, "x"});
    failed.session->on_lost();
    EXPECT_EQ(closed(failed), 1);
    never.session->on_lost();
    EXPECT_EQ(closed(never), 0);
}

TEST_F(LifeTest, C1_SilentPeerIsPingedThenClosed) {
    SessionRig rig(server);
    rig.open(plain_hello());
    (void)rig.answers();
    const Nanos heard = server.clock.boot();
    server.clock.advance(server.limits.ping_ns + 1);
    rig.session->on_tick(heard);
    rig.session->on_tick(heard);
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].header.type, FrameType::ping);
    server.clock.advance(server.limits.idle_ns);
    rig.session->on_tick(heard);
    EXPECT_EQ(rig.error_code(), Errc::connection_lost);
}

TEST_F(LifeTest, PingIsAnswered) {
    SessionRig rig(server);
    rig.open(plain_hello());
    rig.feed(message_frame(FrameType::ping, rig.session->id(), wire::Ping{42}));
    EXPECT_EQ(rig.answer_of(FrameType::pong).as<wire::Ping>().token, 42U);
}

TEST_F(LifeTest, HelloAndOpeningAreBoundedInTime) {
    SessionRig silent(server), waiting(server, 0x78);
    waiting.feed(message_frame(FrameType::hello, SessionId{}, plain_hello()));
    server.clock.advance(server.limits.head_ns + 1);
    silent.session->on_tick(server.clock.boot());
    EXPECT_EQ(silent.error_code(), Errc::peer_slow);
    server.clock.advance(server.limits.open_ns);
    waiting.session->on_tick(server.clock.boot());
    EXPECT_EQ(waiting.error_code(), Errc::server_busy);
}

TEST_F(LifeTest, GoodbyeIsAnsweredWhenEverythingIsSpooled) {
    SessionRig rig(server);
    rig.open(plain_hello());
    (void)rig.answers();
    rig.feed(write_frame(rig.at(1), {{}}));
    rig.feed(
        message_frame(FrameType::goodbye, rig.session->id(), wire::Goodbye{{{0, Seq{1}}}, true}));
    EXPECT_FALSE(rig.session->closing());
    EXPECT_TRUE(rig.session->outbox().notices.back().planned_failover);
    rig.make_durable();
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 2U);
    EXPECT_EQ(frames[0].as<wire::Ack>().disks.at(0).spooled, Seq{1});
    EXPECT_EQ(frames[1].header.type, FrameType::goodbye);
    EXPECT_TRUE(rig.session->closing());
    EXPECT_FALSE(rig.session->error());
}

TEST_F(LifeTest, GoodbyeAtASequenceThatNeverCameIsRefused) {
    SessionRig rig(server);
    rig.open(plain_hello());
    rig.feed(
        message_frame(FrameType::goodbye, rig.session->id(), wire::Goodbye{{{0, Seq{1}}}, false}));
    EXPECT_EQ(rig.error_code(), Errc::frame_malformed);
}

TEST_F(LifeTest, DrainWaitsForDurabilityButNotForEver) {
    SessionRig done(server), stuck(server, 0x78);
    for (SessionRig* rig : {&done, &stuck}) {
        rig->open(plain_hello());
        rig->feed(write_frame(rig->at(1), {{}}));
        (void)rig->answers();
        rig->session->drain();
        EXPECT_FALSE(rig->session->ready());
        EXPECT_FALSE(rig->session->closing());
    }
    done.make_durable();
    EXPECT_EQ(done.answers().back().header.type, FrameType::goodbye);
    server.clock.advance(server.limits.drain_ns + 1);
    stuck.session->on_tick(server.clock.boot());
    EXPECT_EQ(stuck.error_code(), Errc::server_busy);
}

TEST_F(LifeTest, PeerThatDoesNotReadIsNotRead) {
    SessionRig rig(server);
    rig.open(plain_hello());
    for (int i = 0; i < 20'000 && rig.session->ready(); ++i) {
        rig.feed(message_frame(FrameType::ping, rig.session->id(), wire::Ping{}));
    }
    EXPECT_FALSE(rig.session->ready());
    EXPECT_LE(rig.session->output().size(), 257 * kib);
    (void)rig.answers();
    EXPECT_TRUE(rig.session->ready());
}

TEST_F(LifeTest, HashesAreAskedForAndAnswered) {
    SessionRig rig(server);
    rig.open(plain_hello());
    (void)rig.answers();
    rig.feed(
        message_frame(FrameType::hashes_request, rig.session->id(), wire::HashesRequest{64, 3}, 0));
    ASSERT_EQ(rig.session->outbox().digests.size(), 1U);
    const ingest::DigestRequest request = rig.session->outbox().digests.front();
    EXPECT_EQ(request.disk, id_of<DiskId>(1));
    EXPECT_EQ(request.first_block, 64U);
    rig.session->on_digests({.machine = request.machine,
                             .session = request.session,
                             .slot = request.slot,
                             .first_block = request.first_block,
                             .known = {true, false, true},
                             .fingerprints = std::vector<Fingerprint>(2)});
    const auto hashes = rig.answer_of(FrameType::hashes).as<wire::Hashes>();
    EXPECT_EQ(hashes.first_block, 64U);
    EXPECT_EQ(hashes.fingerprints.size(), 2U);
}

TEST_F(LifeTest, WithoutADigestSourceEveryBlockIsUnknown) {
    server.has_digests = false;
    SessionRig rig(server);
    rig.open(plain_hello());
    rig.feed(
        message_frame(FrameType::hashes_request, rig.session->id(), wire::HashesRequest{0, 16}, 0));
    const auto hashes = rig.answer_of(FrameType::hashes).as<wire::Hashes>();
    EXPECT_EQ(hashes.known, std::vector<bool>(16, false));
}

TEST_F(LifeTest, ModeAndUnreadExtentsBecomeNotices) {
    SessionRig rig(server);
    rig.open(plain_hello());
    rig.session->outbox().notices.clear();
    rig.feed(message_frame(FrameType::mode, rig.session->id(),
                           wire::Mode{wire::ReplicationMode::bitmap, 5 * gib, "spool full"}));
    rig.feed(message_frame(FrameType::extents, rig.session->id(),
                           wire::Extents{{{0, 4096}, {8192, 512}}}, 0));
    ASSERT_EQ(rig.session->outbox().notices.size(), 2U);
    EXPECT_EQ(rig.session->outbox().notices[0].mode, wire::ReplicationMode::bitmap);
    EXPECT_EQ(rig.session->outbox().notices[1].unread_bytes, 4608U);
    rig.feed(message_frame(FrameType::extents, rig.session->id(),
                           wire::Extents{{{test_disk_bytes, 512}}}, 0));
    EXPECT_EQ(rig.error_code(), Errc::size_mismatch);
}

}  // namespace
}  // namespace cw::test
