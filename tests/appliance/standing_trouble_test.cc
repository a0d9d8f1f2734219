#include "appliance/standing_trouble.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

TEST(StandingTrouble, StandsFromAFailureToTheNextSuccess) {
    ManualClock clock;
    Conditions conditions(clock);
    StandingTrouble trouble(conditions, "file");
    trouble.show({});
    EXPECT_TRUE(conditions.list().empty());
    trouble.show(fail(Errc::spool_full, "no room"));
    trouble.show(fail(Errc::spool_full, "no room yet"));
    ASSERT_EQ(conditions.list().size(), 1U);
    EXPECT_EQ(conditions.list()[0].detail, "no room yet");
    trouble.show(fail(Errc::io_error, "worse"));  // Only what is wrong now stands.
    ASSERT_EQ(conditions.list().size(), 1U);
    EXPECT_TRUE(conditions.standing(Errc::io_error));
    trouble.show({});
    EXPECT_TRUE(conditions.list().empty());
}

}  // namespace
}  // namespace cw::appliance
