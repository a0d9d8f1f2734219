#include "base/conditions.h"

#include "base/log.h"

#include <gtest/gtest.h>

namespace cw {
namespace {

TEST(Conditions, StandUntilCleared) {
    ManualClock clock;
    Conditions conditions(clock);
    conditions.raise(Errc::spool_full, "cache", "0 bytes left");
    conditions.raise(Errc::spool_full, "cache", "still 0 bytes left");
    conditions.raise(Errc::blob_auth, "vault", "401");
    EXPECT_TRUE(conditions.standing(Errc::spool_full));
    EXPECT_FALSE(conditions.standing(Errc::io_error));
    ASSERT_EQ(conditions.list().size(), 2U);
    EXPECT_EQ(conditions.list()[0].count, 2U);
    EXPECT_EQ(conditions.list()[0].detail, "still 0 bytes left");

    conditions.clear(Errc::spool_full, "cache");
    conditions.clear(Errc::spool_full, "cache");  // Twice is once.
    EXPECT_FALSE(conditions.standing(Errc::spool_full));
    EXPECT_EQ(conditions.list().size(), 1U);
}

TEST(Conditions, OfDifferentSubjectsAreDifferent) {
    ManualClock clock;
    Conditions conditions(clock);
    conditions.raise(Errc::seq_gap, "disk a", "");
    conditions.raise(Errc::seq_gap, "disk b", "");
    conditions.clear(Errc::seq_gap, "disk a");
    EXPECT_TRUE(conditions.standing(Errc::seq_gap));
    EXPECT_EQ(conditions.list().at(0).subject, "disk b");
}

TEST(Conditions, KeepABoundedHistoryInOrder) {
    ManualClock clock;
    Conditions conditions(clock);
    set_log_level(LogLevel::error);
    for (int i = 0; i < 3000; ++i) {
        clock.advance(ns_per_s);
        conditions.raise(Errc::peer_slow, "a", "");
        conditions.clear(Errc::peer_slow, "a");
    }
    set_log_level(LogLevel::info);
    EXPECT_EQ(conditions.events(1'000'000).size(), 4096U);
    const auto newest = conditions.events(2);
    ASSERT_EQ(newest.size(), 2U);
    EXPECT_TRUE(newest[0].raised);
    EXPECT_FALSE(newest[1].raised);
}

}  // namespace
}  // namespace cw
