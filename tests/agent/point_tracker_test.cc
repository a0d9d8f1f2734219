#include "agent/stream/point_tracker.h"

#include <gtest/gtest.h>

namespace cw::agent {
namespace {

using wire::PointState;

class PointTrackerTest : public testing::Test {
protected:
    PointId make(std::uint8_t number, const std::string& server) {
        TrackedPoint point;
        point.id.bytes[0] = std::byte{number};
        tracker.made(point);
        tracker.sent(point.id, server);
        return point.id;
    }
    void hear(const PointId& id, PointState state) {
        EXPECT_TRUE(tracker.answered({id, state, 0, {}}));
    }
    [[nodiscard]] PointPhase phase(const PointId& id) const { return tracker.find(id)->phase; }
    PointTracker tracker;
};

// Damage in its cache took the record; an agent would show it as durable for ever.
TEST_F(PointTrackerTest, WhatAServerPassesOverIsLost) {
    const PointId lost = make(1, "a"), later = make(2, "a");
    hear(lost, PointState::durable);
    hear(later, PointState::durable);
    EXPECT_EQ(phase(lost), PointPhase::durable);
    hear(later, PointState::committed);
    EXPECT_EQ(phase(lost), PointPhase::dropped);
    EXPECT_NE(tracker.find(lost)->reason, "");
}

TEST_F(PointTrackerTest, OnlyItsOwnServersAnswersPassAPointOver) {
    const PointId held = make(1, "a"), unsent = make(2, "b"), later = make(3, "b");
    hear(held, PointState::durable);
    hear(later, PointState::dropped);
    EXPECT_EQ(phase(held), PointPhase::durable);
    EXPECT_EQ(phase(unsent), PointPhase::queued) << "it comes again, behind";
}

// Another server, or a copy of it, may have had it all the same.
TEST_F(PointTrackerTest, ALateAnswerCounts) {
    const PointId early = make(1, "a"), later = make(2, "a");
    hear(early, PointState::durable);
    hear(later, PointState::dropped);
    hear(early, PointState::committed);
    EXPECT_EQ(phase(early), PointPhase::committed);
}

}  // namespace
}  // namespace cw::agent
