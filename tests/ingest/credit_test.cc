// Credit: the bound on what peers may have under way, whatever they do.
#include "ingest/window_watch.h"
#include "tests/ingest/session_rig.h"

#include <deque>

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using wire::FrameType;

constexpr std::uint64_t least = ingest::credit_window_min, idle_window = ingest::credit_window_idle;

// What a peer does with its credit, without the frames: everything becomes durable at once.
class Peer {
public:
    explicit Peer(ingest::SharedCredit& credit) : credit_(credit), account(credit) { grow(); }
    // Sends `bytes` if the credit allows it now.
    bool send(std::uint64_t bytes) {
        if (!account.receive(bytes)) {
            return false;
        }
        credit_.consume(bytes);
        account.settle(bytes);
        grow();
        return true;
    }
    void grow() { (void)account.grow(); }

private:
    ingest::SharedCredit& credit_;

public:
    ingest::CreditAccount account;
};

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
    EXPECT_EQ(rig.answer_of(FrameType::credit).as<wire::Credit>().cumulative_bytes, idle_window);
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

TEST(Credit, AWindowGrowsWithUseAndShrinksWithout) {
    ingest::SharedCredit credit(gib, 64 * mib);
    Peer peer(credit);
    EXPECT_EQ(peer.account.available(), idle_window);
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(peer.send(mib)) << i;
    }
    EXPECT_GT(peer.account.available(), 56 * mib);
    for (int i = 0; i < 40; ++i) {
        peer.account.tick();
    }
    EXPECT_EQ(peer.account.demand(), idle_window);
    // What was granted stays granted, but is not granted again.
    const std::uint64_t granted = peer.account.granted();
    for (int i = 0; i < 2000 && peer.account.available() > idle_window; ++i) {
        ASSERT_TRUE(peer.send(64 * kib));
        peer.account.tick();
    }
    EXPECT_EQ(peer.account.granted(), granted);
    for (int i = 0; i < 1000; ++i) {
        ASSERT_TRUE(peer.send(64 * kib));
        peer.account.tick();
        ASSERT_GE(peer.account.available(), least);
        ASSERT_LE(peer.account.available(), idle_window);
    }
}

// A hundred machines have been busy and are idle now; the one that comes last must not wait.
TEST(Credit, AHundredIdleSessionsDoNotStarveTheOneThatComesLast) {
    ingest::SharedCredit credit(202 * least, 64 * mib);
    std::deque<Peer> idle;
    for (int i = 0; i < 100; ++i) {
        Peer& peer = idle.emplace_back(credit);
        ASSERT_GE(peer.account.available(), least) << i;
        for (int burst = 0; burst < 128; ++burst) {
            ASSERT_TRUE(peer.send(mib)) << i;
        }
        peer.account.tick();
    }
    Peer busy(credit);
    ASSERT_GE(busy.account.available(), least);
    for (int i = 0; i < 1000; ++i) {
        ASSERT_TRUE(busy.send(8 * mib)) << i;
        ASSERT_LE(credit.reserved(), 202 * least);
    }
    for (Peer& peer : idle) {  // And nobody has lost a window to it.
        EXPECT_TRUE(peer.send(8 * mib));
    }
    EXPECT_EQ(credit.least_windows().wanted, 101U);
    EXPECT_EQ(credit.least_windows().fitting, 202U);
}

// Room for exactly one least window each: who is idle with more gives it back, and then all have
// one.
TEST(Credit, WhatIdleSessionsHoldIsTakenBackWhenOthersStarve) {
    ingest::SharedCredit credit(101 * least, 64 * mib);
    std::vector<std::unique_ptr<Peer>> peers;
    for (int i = 0; i < 101; ++i) {
        Peer& peer = *peers.emplace_back(std::make_unique<Peer>(credit));
        for (int burst = 0; i < 20 && burst < 128; ++burst) {
            ASSERT_TRUE(peer.send(mib)) << i;
        }
    }
    ASSERT_LT(peers.back()->account.available(), least);
    EXPECT_TRUE(credit.wants_back());
    for (int tick = 0; tick < 20; ++tick) {
        for (std::unique_ptr<Peer>& peer : peers) {
            peer->account.tick();
            peer->grow();
            if (peer->account.hoards() && credit.wants_back()) {
                peer.reset();  // Its session ends; the machine comes back.
                peer = std::make_unique<Peer>(credit);
            }
        }
    }
    for (const std::unique_ptr<Peer>& peer : peers) {
        EXPECT_EQ(peer->account.available(), least);
    }
    EXPECT_FALSE(credit.wants_back());
    EXPECT_EQ(credit.reserved(), 101 * least);
}

TEST(Credit, AnIdleSessionThatHoldsTooMuchSaysGoodbye) {
    ServerRig server;
    server.credit.set_budget(4 * least);
    SessionRig idle(server, 1);
    idle.open(plain_hello());
    for (std::uint64_t seq = 1; seq <= 40; ++seq) {
        idle.feed(write_frame(idle.at(seq), {{0, mib}}));
        server.credit.consume(mib + 4 * kib);
        idle.make_durable();
        (void)idle.answers();
    }
    ASSERT_GT(idle.session->credit().available(), 14 * mib);
    SessionRig second(server, 2), third(server, 3);
    second.open(plain_hello());
    third.open(plain_hello());
    const auto pass = [&](SessionRig& rig, int ticks) {
        for (int i = 0; i < ticks; ++i) {
            rig.session->on_tick(server.clock.boot());
        }
    };
    pass(idle, 20);
    EXPECT_TRUE(idle.session->live());  // Nobody needs it.
    SessionRig last(server, 4);
    last.open(plain_hello());
    ASSERT_LT(last.session->credit().available(), least);
    (void)last.answers();
    pass(second, 20);
    EXPECT_TRUE(second.session->live());  // It holds no more than everybody.
    pass(idle, 1);
    (void)idle.answer_of(FrameType::goodbye);
    EXPECT_TRUE(idle.session->closing());
    idle.session.reset();
    pass(last, 1);
    EXPECT_EQ(last.answer_of(FrameType::credit).as<wire::Credit>().cumulative_bytes, least);
}

// Frames and sessions this time: what the slow one has under way costs the others nothing.
TEST(Credit, ASlowMachineDoesNotSlowTheOthers) {
    ServerRig server;
    server.credit.set_budget(4 * least);
    SessionRig slow(server, 1);
    slow.open(plain_hello());
    slow.feed(write_frame(slow.at(1), {{0, 8 * mib}}));  // Never durable while the others go on.
    SessionRig quick(server, 2), other(server, 3);
    quick.open(plain_hello());
    other.open(plain_hello());
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
        for (SessionRig* rig : {&quick, &other}) {
            rig->feed(write_frame(rig->at(seq), {{0, 8 * mib}}));
            ASSERT_EQ(rig->records.size(), 1U) << seq;
            server.credit.consume(8 * mib + 4 * kib);
            rig->make_durable();
            (void)rig->answers();
        }
    }
    EXPECT_LE(server.credit.reserved(), 4 * least);
}

TEST(Credit, TooSmallACacheIsAConditionWhenItLasts) {
    ManualClock clock;
    Conditions conditions(clock);
    ingest::SharedCredit credit(2 * least, 64 * mib);
    ingest::WindowWatch watch(credit, conditions);
    const auto pass = [&](std::int64_t ns) {
        clock.advance(ns);
        watch.tick(clock.boot());
    };
    pass(1);
    credit.session_began();
    credit.session_began();
    pass(ingest::WindowWatch::hold_ns);
    EXPECT_TRUE(conditions.list().empty());
    credit.session_began();
    pass(ns_per_s);
    EXPECT_TRUE(conditions.list().empty());
    pass(ingest::WindowWatch::hold_ns);
    ASSERT_TRUE(conditions.standing(Errc::server_busy));
    EXPECT_EQ(conditions.list().at(0).subject, "cache");
    conditions.raise(Errc::spool_full, "cache", "");  // Says it all.
    pass(ns_per_s);
    pass(ingest::WindowWatch::hold_ns);
    EXPECT_FALSE(conditions.standing(Errc::server_busy));
    conditions.clear(Errc::spool_full, "cache");
    pass(1);
    pass(ingest::WindowWatch::hold_ns);
    EXPECT_TRUE(conditions.standing(Errc::server_busy));
    credit.set_budget(3 * least);
    pass(ns_per_s);
    EXPECT_TRUE(conditions.standing(Errc::server_busy));
    pass(ingest::WindowWatch::hold_ns);
    EXPECT_TRUE(conditions.list().empty());
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
