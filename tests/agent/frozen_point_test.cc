// Points whose name is known only after the cut: held back until then, and what is behind them.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

using pipeline::PointKind;

TEST(FrozenPoint, IsNotSentBeforeItIsKnownWhatItIs) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.write(0, 0, 4096, 1);
    const auto held = h.point();
    ASSERT_TRUE(held.has_value());
    h.replicator->hold_point(*held);
    h.write(0, 8192, 4096, 2);
    h.clock.advance(ns_per_s);  // Past the time in which writes are gathered.
    h.steps(200);
    EXPECT_TRUE(h.server.points.empty());
    EXPECT_TRUE(h.replicator->is_held(*held));

    h.replicator->settle_point(PointKind::app, "hook ok");
    const auto later = h.point();
    ASSERT_TRUE(later.has_value());
    ASSERT_TRUE(h.run_until(
        [&] { return h.replicator->points().find(*later)->phase == PointPhase::committed; }));
    ASSERT_EQ(h.server.points.size(), 2U);
    EXPECT_EQ(h.server.points[0].point.id, *held);
    EXPECT_EQ(h.server.points[0].point.kind, PointKind::app);
    EXPECT_EQ(h.server.points[0].point.hook_results, "hook ok");
    EXPECT_EQ(h.replicator->points().find(*held)->kind, PointKind::app);
    EXPECT_EQ(h.check_points(), 2U);
    h.expect_no_violations();
}

// Its reason is longer than the block that the point took before it had one.
TEST(FrozenPoint, ThatProvedNotToBeOneIsACrashPointAndSaysWhy) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.write(0, 0, 4096, 1);
    const auto held = h.point();
    ASSERT_TRUE(held.has_value());
    h.replicator->hold_point(*held);
    const std::string why(6000, 'w');
    h.replicator->settle_point(PointKind::crash, why);
    ASSERT_TRUE(h.run_until(
        [&] { return h.replicator->points().find(*held)->phase == PointPhase::committed; }));
    EXPECT_EQ(h.server.points.at(0).point.kind, PointKind::crash);
    EXPECT_EQ(h.server.points.at(0).point.hook_results, why);
    EXPECT_TRUE(h.run_until([&] { return h.outbox->empty(); }));
    EXPECT_EQ(h.outbox->payload_bytes(), 0U);
    h.expect_no_violations();
}

// A connection that is lost meanwhile brings the point back into the queue, and it is held there.
TEST(FrozenPoint, IsHeldAlsoInTheNextSession) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.write(0, 0, 4096, 1);
    const auto held = h.point();
    ASSERT_TRUE(held.has_value());
    h.replicator->hold_point(*held);
    h.server.crash();
    h.steps(50);
    ASSERT_TRUE(h.run_until_protected());
    h.steps(200);
    EXPECT_TRUE(h.server.points.empty());
    h.replicator->settle_point(PointKind::filesystem, "");
    ASSERT_TRUE(h.run_until(
        [&] { return h.replicator->points().find(*held)->phase == PointPhase::committed; }));
    EXPECT_EQ(h.server.points.at(0).point.kind, PointKind::filesystem);
    h.expect_no_violations();
}

}  // namespace
}  // namespace cw::agent::test
