#include "base/crash_point.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

namespace cw {
namespace {

void walk() {
    CW_CRASH_POINT("test.first");
    CW_CRASH_POINT("test.second");
}

TEST(CrashPoint, AllPointsOfTheProgramAreKnown) {
    walk();  // Unarmed: nothing happens.
    EXPECT_THAT(crash_point_names(), testing::IsSupersetOf({"test.first", "test.second"}));
}

TEST(CrashPointDeathTest, KillsAtTheChosenHit) {
    const auto killed = testing::KilledBySignal(SIGKILL);
    EXPECT_EXIT(
        {
            if (!arm_crash_point("test.second", 3)) {
                std::exit(1);
            }
            walk();
            walk();
            std::fprintf(stderr, "two survived");
            walk();
            std::exit(0);
        },
        killed, "two survived");
}

TEST(CrashPointDeathTest, IsArmedFromTheEnvironment) {
    EXPECT_EXIT(
        {
            setenv("CAUSEWAY_CRASH_POINT", "test.first:1", 1);
            if (arm_crash_point_from_environment()) {
                walk();
            }
            std::exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
}

TEST(CrashPointDeathTest, AThreadThatStallsThereHoldsUpNoOther) {
    EXPECT_EXIT(
        {
            setenv("CAUSEWAY_CRASH_POINT", "test.second:1:stall", 1);
            if (!arm_crash_point_from_environment()) {
                std::_Exit(1);
            }
            static std::atomic<int> went_on = 0;
            for (int i = 0; i < 3; ++i) {
                std::thread([] {
                    walk();
                    ++went_on;
                }).detach();
            }
            while (went_on < 2) {
                std::this_thread::yield();
            }
            poll(nullptr, 0, 100);  // For the third, which never comes.
            std::_Exit(went_on == 2 ? 0 : 2);
        },
        testing::ExitedWithCode(0), "");
}

TEST(CrashPoint, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(arm_crash_point("test.nowhere", 1).error().code, Errc::usage);
    EXPECT_EQ(arm_crash_point("test.first", 0).error().code, Errc::usage);
    for (const char* value : {"test.first", "test.first:", "test.first:x", "test.first:1x", ":1",
                              "test.first:stall", ":stall", "test.first:1:stal"}) {
        setenv("CAUSEWAY_CRASH_POINT", value, 1);
        EXPECT_FALSE(arm_crash_point_from_environment()) << value;
    }
    unsetenv("CAUSEWAY_CRASH_POINT");
    EXPECT_TRUE(arm_crash_point_from_environment());
    walk();
}

}  // namespace
}  // namespace cw
