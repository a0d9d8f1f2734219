#include "base/conditions.h"

#include "base/log.h"

#include <gtest/gtest.h>

namespace cw {
namespace {

TEST(Conditions, StandUntilCleared) {
    ManualClock clock;
    Conditions conditions(clock);
    conditions.raise(Errc::io_error, "cache", "read error");
    conditions.raise(Errc::io_error, "cache", "still a read error");
    conditions.raise(Errc::not_found, "vault", "no such container");
    EXPECT_TRUE(conditions.standing(Errc::io_error));
    EXPECT_FALSE(conditions.standing(Errc::usage));
    ASSERT_EQ(conditions.list().size(), 2U);
    EXPECT_EQ(conditions.list()[0].count, 2U);
    EXPECT_EQ(conditions.list()[0].detail, "still a read error");

    conditions.clear(Errc::io_error, "cache");
    conditions.clear(Errc::io_error, "cache");  // Twice is once.
    EXPECT_FALSE(conditions.standing(Errc::io_error));
    EXPECT_EQ(conditions.list().size(), 1U);
}

TEST(Conditions, OfDifferentSubjectsAreDifferent) {
    ManualClock clock;
    Conditions conditions(clock);
    conditions.raise(Errc::file_exists, "disk a", "");
    conditions.raise(Errc::file_exists, "disk b", "");
    conditions.clear(Errc::file_exists, "disk a");
    EXPECT_TRUE(conditions.standing(Errc::file_exists));
    EXPECT_EQ(conditions.list().at(0).subject, "disk b");
}

TEST(Conditions, KeepABoundedHistoryInOrder) {
    ManualClock clock;
    Conditions conditions(clock);
    set_log_level(LogLevel::error);
    for (int i = 0; i < 3000; ++i) {
        clock.advance(ns_per_s);
        conditions.raise(Errc::tls_failed, "a", "");
        conditions.clear(Errc::tls_failed, "a");
    }
    set_log_level(LogLevel::info);
    EXPECT_EQ(conditions.events(1'000'000).size(), 4096U);
    const auto newest = conditions.events(2);
    ASSERT_EQ(newest.size(), 2U);
    EXPECT_TRUE(newest[0].raised);
    EXPECT_FALSE(newest[1].raised);
}

TEST(Conditions, TellEachEventOnceToWhoAsksForNews) {
    ManualClock clock;
    Conditions conditions(clock);
    set_log_level(LogLevel::error);
    conditions.raise(Errc::tls_failed, "a", "");
    const ConditionNews first = conditions.news(0);
    EXPECT_EQ(first.events.size(), 1U);
    EXPECT_EQ(first.missed, 0U);
    EXPECT_TRUE(conditions.news(first.next).events.empty());
    conditions.clear(Errc::tls_failed, "a");
    const ConditionNews second = conditions.news(first.next);
    ASSERT_EQ(second.events.size(), 1U);
    EXPECT_FALSE(second.events[0].raised);
    for (int i = 0; i < 3000; ++i) {
        conditions.raise(Errc::tls_failed, "a", "");
        conditions.clear(Errc::tls_failed, "a");
    }
    set_log_level(LogLevel::info);
    const ConditionNews third = conditions.news(second.next);
    EXPECT_EQ(third.events.size(), 4096U);
    EXPECT_EQ(third.missed, 6000U - 4096);
    EXPECT_EQ(third.next, second.next + 6000);
}

}  // namespace
}  // namespace cw
