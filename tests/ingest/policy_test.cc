// What agents are told about how often to make points: at first, when it changes, and never those
// that would not understand.
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using wire::FrameType;
using wire::Policy;

constexpr Policy slow{300'000, 3'600'000}, fast{5'000, 0};

class PolicyTest : public testing::Test {
protected:
    static wire::Hello understanding() {
        wire::Hello hello = plain_hello();
        hello.features = wire::feature_policy;
        return hello;
    }
    // What the session says of policies now.
    static std::vector<Policy> told(SessionRig& rig) {
        std::vector<Policy> out;
        for (const OutFrame& frame : rig.answers()) {
            if (frame.header.type == FrameType::policy) {
                out.push_back(frame.as<Policy>());
            }
        }
        return out;
    }
    std::vector<Policy> told_at_the_next_tick(SessionRig& rig) {
        rig.session->on_tick(server.clock.boot());
        return told(rig);
    }
    ServerRig server;
};

TEST_F(PolicyTest, IsToldAfterWelcomeAndWhatItSaysOfPoints) {
    server.policies.set({slow, {}});
    SessionRig rig(server);
    rig.feed(message_frame(FrameType::hello, SessionId{}, understanding()));
    pipeline::MachineOpened opened = rig.answer(pipeline::DiskAction::continue_, Seq{});
    opened.points.push_back({id_of<PointId>(3), pipeline::PointState::committed, 1, {}});
    rig.session->outbox().open.reset();
    rig.session->on_opened(std::move(opened));
    const auto frames = rig.answers();
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0].header.type, FrameType::welcome);
    EXPECT_EQ(frames[1].header.type, FrameType::point_status);
    EXPECT_EQ(frames[2].header.type, FrameType::policy);
    EXPECT_EQ(frames[2].as<Policy>(), slow);
}

TEST_F(PolicyTest, IsNotToldToAnAgentThatDoesNotKnowIt) {
    server.policies.set({slow, {}});
    SessionRig rig(server);
    rig.open(plain_hello());
    EXPECT_TRUE(told(rig).empty());
    server.policies.set({fast, {}});
    EXPECT_TRUE(told_at_the_next_tick(rig).empty());
}

TEST_F(PolicyTest, IsNotToldWhereNobodySetOne) {
    SessionRig rig(server);
    rig.open(understanding());
    EXPECT_TRUE(told(rig).empty());
    EXPECT_TRUE(told_at_the_next_tick(rig).empty());
}

TEST_F(PolicyTest, IsToldAgainInTheSameSessionWhenItChangesAndOnlyThen) {
    server.policies.set({slow, {}});
    SessionRig rig(server);
    rig.open(understanding());
    EXPECT_EQ(told(rig), std::vector{slow});
    EXPECT_TRUE(told_at_the_next_tick(rig).empty());
    server.policies.set({slow, {{id_of<MachineId>(0x10), fast}}});
    EXPECT_TRUE(told_at_the_next_tick(rig).empty()) << "another machine's";
    server.policies.set({fast, {}});
    EXPECT_EQ(told_at_the_next_tick(rig), std::vector{fast});
    EXPECT_TRUE(told_at_the_next_tick(rig).empty());
}

TEST_F(PolicyTest, OfOneMachineGoesBeforeThatOfAll) {
    server.policies.set({slow, {{id_of<MachineId>(0x77), fast}}});
    SessionRig rig(server), other(server, 0x78);
    rig.open(understanding());
    other.open(understanding());
    EXPECT_EQ(told(rig), std::vector{fast});
    EXPECT_EQ(told(other), std::vector{slow});
}

TEST_F(PolicyTest, NothingIsToldOnceTheSessionEnds) {
    server.policies.set({slow, {}});
    SessionRig rig(server);
    rig.open(understanding());
    (void)rig.answers();
    rig.session->drain();
    server.policies.set({fast, {}});
    EXPECT_TRUE(told_at_the_next_tick(rig).empty());
}

}  // namespace
}  // namespace cw::test
