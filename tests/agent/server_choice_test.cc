// Which server an agent turns to, and what becomes of points when it is another one.
#include "agent/session/server_choice.h"

#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

TEST(AgentServers, E3NoTakeoverForABlip) {
    ServerChoice choice(2);
    EXPECT_EQ(choice.next(), 0U);
    choice.served();
    for (int blip = 0; blip < 10; ++blip) {
        EXPECT_EQ(choice.next(), 0U);  // Perhaps it was only the connection;
        EXPECT_EQ(choice.next(), 0U);  // or the server is starting again.
        EXPECT_EQ(choice.next(), 0U);
        choice.served();
    }
}

TEST(AgentServers, E2AServerThatStaysAwayIsLeftAndTheNextOneIsHome) {
    ServerChoice choice(3);
    EXPECT_EQ(choice.next(), 0U);
    choice.served();
    for (unsigned i = 0; i < ServerChoice::patience; ++i) {
        EXPECT_EQ(choice.next(), 0U);
    }
    EXPECT_EQ(choice.next(), 1U);
    EXPECT_EQ(choice.next(), 2U);  // Whoever has not served has no credit.
    choice.served();
    EXPECT_EQ(choice.next(), 2U);
    EXPECT_EQ(choice.next(), 2U);
}

TEST(AgentServers, AServerThatSendsTheMachineAwayIsLeftAtOnce) {
    ServerChoice choice(2);
    EXPECT_EQ(choice.next(), 0U);
    choice.served();
    choice.sent_away();
    EXPECT_EQ(choice.next(), 1U);
    choice.sent_away();
    EXPECT_EQ(choice.next(), 0U);
    ServerChoice only(1);
    EXPECT_EQ(only.next(), 0U);
    only.sent_away();
    EXPECT_EQ(only.next(), 0U);
}

TEST(AgentServers, TheConnectorIsToldWhoServesAndWhoSendsAway) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.random_write();
    ASSERT_TRUE(h.run_until([&] { return h.connector.served_count > 0; }));
    EXPECT_EQ(h.connector.sent_away_count, 0U);
    h.server.refuse_with = Errc::fenced;
    h.server.crash();
    EXPECT_TRUE(h.run_until([&] { return h.connector.sent_away_count > 0; }));
}

const TrackedPoint& tracked(Harness& h, const PointId& id) {
    const TrackedPoint* const point = h.replicator->points().find(id);
    CW_ASSERT(point != nullptr);
    return *point;
}

TEST(AgentServers, E2APointThatOnlyTheFormerServerHeldIsToldAsDropped) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.server.auto_commit = false;
    h.random_write();
    const auto point = h.point();
    ASSERT_TRUE(point.has_value());
    ASSERT_TRUE(h.run_until([&] { return tracked(h, *point).phase == PointPhase::durable; }));
    h.server.take_over();
    ASSERT_TRUE(h.run_until([&] { return tracked(h, *point).phase == PointPhase::dropped; }));
    EXPECT_NE(tracked(h, *point).reason.find("takeover"), std::string::npos);
}

// All its writes are in the vault, but not the point itself.
TEST(AgentServers, E2APointThatAnotherServerSaysNothingOfIsToldAsDropped) {
    for (const bool another : {true, false}) {
        Harness h;
        ASSERT_TRUE(h.run_until_protected());
        h.server.auto_commit = false;
        h.random_write();
        const auto point = h.point();
        ASSERT_TRUE(point.has_value());
        ASSERT_TRUE(h.run_until([&] { return tracked(h, *point).phase == PointPhase::durable; }));
        h.connector.peer = another ? "another" : h.connector.peer;
        const std::uint64_t sessions = h.server.sessions;
        h.server.closed = true;
        ASSERT_TRUE(h.run_until([&] {
            h.server.sync();
            return h.server.sessions > sessions && h.replicator->status().link == LinkState::live;
        }));
        h.random_write();
        h.steps(50);
        if (another) {
            EXPECT_EQ(tracked(h, *point).phase, PointPhase::dropped);
            continue;
        }
        EXPECT_EQ(tracked(h, *point).phase, PointPhase::durable);  // Its server goes on with it.
        h.server.commit();
        EXPECT_TRUE(h.run_until([&] { return tracked(h, *point).phase == PointPhase::committed; }));
    }
}

}  // namespace
}  // namespace cw::agent::test
