#include "base/clock.h"
#include "base/random.h"

#include <array>

#include <gtest/gtest.h>

namespace cw {
namespace {

TEST(SystemClock, NeverGoesBackAndKnowsTheYear) {
    const auto clock = make_system_clock();
    Nanos last = clock->boot();
    for (int i = 0; i < 1000; ++i) {
        const Nanos now = clock->boot();
        ASSERT_GE(now - last, 0);
        last = now;
    }
    constexpr std::int64_t year_2024_us = 1'704'067'200'000'000;
    EXPECT_GT(static_cast<std::int64_t>(clock->wall()), year_2024_us);
}

TEST(ManualClock, MovesOnlyWhenTold) {
    ManualClock clock;
    const Nanos start = clock.boot();
    EXPECT_EQ(clock.boot(), start);
    clock.advance(5 * ns_per_ms);
    EXPECT_EQ(clock.boot() - start, 5 * ns_per_ms);
    clock.jump_wall(-1000);  // Boot time does not follow a corrected wall clock.
    EXPECT_EQ(clock.boot() - start, 5 * ns_per_ms);
}

TEST(SeededRandom, RepeatsFromItsSeed) {
    const auto a = make_seeded_random(42), b = make_seeded_random(42), c = make_seeded_random(43);
    bool differs = false;
    for (int i = 0; i < 100; ++i) {
        const std::uint64_t value = a->next_u64();
        EXPECT_EQ(value, b->next_u64());
        differs = differs || value != c->next_u64();
    }
    EXPECT_TRUE(differs);
}

TEST(SeededRandom, StaysBelowItsBoundAndReachesEverything) {
    const auto random = make_seeded_random(1);
    std::array<int, 7> seen{};
    for (int i = 0; i < 7000; ++i) {
        ++seen.at(random->below(7));
    }
    for (const int count : seen) {
        EXPECT_GT(count, 800);
    }
}

TEST(SystemRandom, DoesNotRepeat) {
    const auto random = make_system_random();
    std::array<std::byte, 33> a{}, b{};
    random->fill(a);
    random->fill(b);
    EXPECT_NE(a, b);
}

}  // namespace
}  // namespace cw
