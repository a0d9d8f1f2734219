// The rule of the half: a disk of which so much was missed is not read until the server orders it.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

class OrderedResync : public testing::Test {
protected:
    void SetUp() override {
        h.server.features = wire::feature_resync_orders;
        ASSERT_TRUE(h.run_until_protected());
        first_begins_ = h.server.begins.size();
    }
    // The server is away while this many MiB are written, one after the other.
    void miss(std::uint64_t mebibytes) {
        h.connector.up = false;
        h.server.crash();
        h.steps(50);
        for (std::uint64_t at = 0; at < mebibytes; ++at) {
            h.write(0, at * mib, mib, static_cast<std::uint8_t>(at + 1));
        }
        h.connector.up = true;
    }
    void expect_whole_point() {
        const auto id = h.point();
        ASSERT_TRUE(id) << to_string(id.error());
        ASSERT_TRUE(h.run_until([&] {
            const auto* point = h.replicator->points().find(*id);
            return point != nullptr && point->phase == PointPhase::committed;
        }));
        EXPECT_GE(h.check_points(), 1U);
        h.expect_no_violations();
    }
    [[nodiscard]] std::string phase() { return h.replicator->status().disks[0].phase; }

    Harness h{{.disk_bytes = 32 * mib, .memory_slabs = 8}};
    std::size_t first_begins_ = 0;
};

TEST_F(OrderedResync, HalfOfADiskMissedWaitsAndIsToldAgainAndAgain) {
    miss(28);
    ASSERT_TRUE(h.run_until([&] { return h.server.times_asked >= 3; }));
    EXPECT_EQ(phase(), "resync required");
    const wire::ResyncRequired& asked = h.server.asked.at(h.id_of(0));
    EXPECT_GE(asked.missed_bytes, 16 * mib);
    EXPECT_NE(asked.reason.find("at least half of the disk"), std::string::npos);
    EXPECT_EQ(h.server.begins.size(), first_begins_);  // Nothing was begun.
    EXPECT_FALSE(h.replicator->consistent());
    // The order: the session is ended, and HELLO is answered with a new history.
    h.server.order_resyncs = true;
    h.server.crash();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resync);
    expect_whole_point();
}

// The leap of a clean start follows what the server has lost: it must not be sent.
TEST_F(OrderedResync, WhatIsLoggedAboveAHoleDoesNotWaitForTheOrder) {
    h.server.features |= wire::feature_own_sequences;
    h.server.auto_commit = false;
    h.random_write();
    h.replicator->begin_stop(false, 60 * ns_per_s);
    ASSERT_TRUE(h.run_until([&] { return h.replicator->ended(); }));
    const Seq next = h.captures[0]->position().next;
    h.kill();
    h.server.take_over();
    h.start(true, false, next);
    BlockSet recorded;
    recorded.add_range(0, 20 * mib);
    ASSERT_TRUE(h.captures[0]->miss(recorded));
    ASSERT_TRUE(h.run_until([&] { return h.server.times_asked >= 3; }));
    h.expect_no_violations();
    h.server.order_resyncs = true;
    h.server.auto_commit = true;
    h.server.crash();
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_point();
}

TEST_F(OrderedResync, LessThanHalfIsCaughtUpWithAtOnce) {
    miss(20);  // Some of it is in memory.
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.times_asked, 0U);
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resume);
    expect_whole_point();
}

TEST_F(OrderedResync, AServerThatKeepsNoOrdersIsNotLeftWaitingFor) {
    h.server.features = 0;
    miss(28);
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.times_asked, 0U);
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resume);
    expect_whole_point();
}

// Synchronising for the first time is nothing that waits for a window.
TEST_F(OrderedResync, AFenceThatIsOpenIsBroughtToItsEnd) {
    Harness fresh{{.disk_bytes = 32 * mib, .memory_slabs = 8}};
    fresh.server.features = wire::feature_resync_orders;
    fresh.server.hold_fences = true;
    ASSERT_TRUE(
        fresh.run_until([&] { return fresh.server.base_bytes > 0 || fresh.server.sessions > 0; }));
    fresh.steps(20);
    fresh.connector.up = false;
    fresh.server.crash();
    fresh.steps(50);
    for (std::uint64_t at = 0; at < 28; ++at) {
        fresh.write(0, at * mib, mib, static_cast<std::uint8_t>(at + 1));
    }
    fresh.connector.up = true;
    fresh.server.hold_fences = false;
    ASSERT_TRUE(fresh.run_until_protected());
    EXPECT_EQ(fresh.server.times_asked, 0U);
    fresh.expect_no_violations();
}

// What QEMU's bitmaps recorded while no agent ran.
TEST_F(OrderedResync, HalfOfADiskRecordedByOthersWaitsToo) {
    h.kill();
    h.start();
    BlockSet recorded;
    recorded.add_range(0, 20 * mib);
    ASSERT_TRUE(h.captures[0]->miss(recorded));
    ASSERT_TRUE(h.run_until([&] { return h.server.times_asked >= 1; }));
    EXPECT_EQ(h.server.begins.size(), first_begins_);
    h.server.order_resyncs = true;
    h.server.crash();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resync);
    expect_whole_point();
}

}  // namespace
}  // namespace cw::agent::test
