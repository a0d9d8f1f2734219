#include "ingest/session_table.h"

#include "tests/ingest/agent_frames.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using ingest::Admission;
using Attempt = ingest::SessionTable::Attempt;

class SessionTableTest : public testing::Test {
protected:
    const MachineId machine = id_of<MachineId>(1), other = id_of<MachineId>(2);
    ManualClock clock;
    std::unique_ptr<Random> random = make_seeded_random(1);
    Conditions conditions{clock};
    ingest::SessionTable table{clock, *random, conditions};
};

TEST_F(SessionTableTest, NewestSessionFencesTheOlderOfTheSameMachineOnly) {
    const Admission first = *table.admit(machine, 1);
    const Admission neighbour = *table.admit(other, 1);
    const Admission second = *table.admit(machine, 1);
    EXPECT_TRUE(first.fenced->load());
    EXPECT_FALSE(second.fenced->load());
    EXPECT_FALSE(neighbour.fenced->load());
    EXPECT_NE(first.session, second.session);
    EXPECT_EQ(table.live_count(), 2U);
}

TEST_F(SessionTableTest, LeavingOfADisplacedSessionDoesNotTouchTheNewOne) {
    const Admission first = *table.admit(machine, 1);
    const Admission second = *table.admit(machine, 2);
    table.leave(machine, first.session);
    EXPECT_FALSE(second.fenced->load());
    EXPECT_EQ(table.live_count(), 1U);
    table.leave(machine, second.session);
    EXPECT_EQ(table.live_count(), 0U);
}

TEST_F(SessionTableTest, G3_EndedSessionIsFencedAndItsMachineMayBeAdmittedAgain) {
    const Admission first = *table.admit(machine, 1);
    table.end_session(machine);
    table.end_session(machine);
    EXPECT_TRUE(first.fenced->load());
    EXPECT_EQ(table.live_count(), 0U);
    EXPECT_FALSE((*table.admit(machine, 1)).fenced->load());
}

TEST_F(SessionTableTest, RestartsAndReconnectsAreNoClash) {
    for (std::uint64_t boot = 1; boot < 100; ++boot) {
        ASSERT_TRUE(table.admit(machine, boot));
        ASSERT_TRUE(table.admit(machine, boot));
    }
    EXPECT_FALSE(conditions.standing(Errc::identity_refused));
}

TEST_F(SessionTableTest, AnAgentThatLosesItsStateAgainAndAgainIsNoClash) {
    // Its count of starts begins anew; the half below it is by chance.
    for (const std::uint64_t chance : {9, 7, 8, 3, 5, 1, 6, 2}) {
        ASSERT_TRUE(table.admit(machine, (std::uint64_t{1} << 32) | chance));
    }
    EXPECT_FALSE(conditions.standing(Errc::identity_refused));
}

TEST_F(SessionTableTest, C6_TwoAgentsByTurnsAreRefusedAfterThreeReturns) {
    int refused_at = 0;
    for (int turn = 1; turn <= 10 && refused_at == 0; ++turn) {
        clock.advance(ns_per_s);
        if (!table.admit(machine, turn % 2 == 1 ? 100 : 200)) {
            refused_at = turn;
        }
    }
    // 100, 200, then four returns: the fourth is one too many.
    EXPECT_EQ(refused_at, 6);
    EXPECT_EQ(table.live_count(), 0U);
    EXPECT_TRUE(conditions.standing(Errc::identity_refused));
    EXPECT_EQ(table.attempt(machine, 30), Attempt::clashing);
    EXPECT_EQ(table.attempt(other, 30), Attempt::welcome);
    EXPECT_EQ(table.admit(machine, 300).error().code, Errc::identity_refused);
}

TEST_F(SessionTableTest, ClashEndsWhenForgivenOrAfterTenQuietMinutes) {
    const auto provoke = [&] {
        for (int turn = 0; turn < 8; ++turn) {
            (void)table.admit(machine, turn % 2 == 0 ? 100 : 200);
        }
        ASSERT_EQ(table.attempt(machine, 30), Attempt::clashing);
    };
    provoke();
    table.forgive(machine);
    EXPECT_TRUE(table.admit(machine, 300));
    EXPECT_FALSE(conditions.standing(Errc::identity_refused));
    provoke();
    clock.advance(599 * ns_per_s);
    EXPECT_EQ(table.attempt(machine, 30), Attempt::clashing);  // Not quiet: tried just now.
    clock.advance(601 * ns_per_s);
    EXPECT_TRUE(table.admit(machine, 300));
    EXPECT_FALSE(conditions.standing(Errc::identity_refused));
}

// Neither of the two has come again: whoever looks sees what the next of them would be told.
TEST_F(SessionTableTest, C6_AClashThatNobodyKeepsAliveEndsByItself) {
    for (int turn = 0; turn < 8; ++turn) {
        (void)table.admit(machine, turn % 2 == 0 ? 100 : 200);
    }
    ASSERT_TRUE(conditions.standing(Errc::identity_refused));
    clock.advance(600 * ns_per_s);
    table.tick();
    EXPECT_TRUE(conditions.standing(Errc::identity_refused));
    clock.advance(ns_per_s);
    table.tick();
    EXPECT_FALSE(conditions.standing(Errc::identity_refused));
    EXPECT_TRUE(table.admit(machine, 300));
}

TEST_F(SessionTableTest, AttemptsOfOneIdentityAreBounded) {
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(table.attempt(machine, 5), Attempt::welcome);
    }
    EXPECT_EQ(table.attempt(machine, 5), Attempt::too_often);
    EXPECT_EQ(table.attempt(other, 5), Attempt::welcome);
    clock.advance(ns_per_s + 1);
    EXPECT_EQ(table.attempt(machine, 5), Attempt::welcome);
    EXPECT_EQ(table.attempt(machine, 5), Attempt::too_often);
}

}  // namespace
}  // namespace cw::test
