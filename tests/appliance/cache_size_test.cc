// Whether a cache has the least credit for every machine.
#include "appliance/cache_size.h"

#include "ingest/credit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t fits_ten = 10 * ingest::credit_window_min * 100 / 80 + 100;

TEST(CacheSize, IsEnoughWhileEveryMachineHasItsLeastWindow) {
    EXPECT_EQ(cache_too_small(fits_ten, 20, 0), std::nullopt);
    EXPECT_EQ(cache_too_small(fits_ten, 20, 10), std::nullopt);
    ASSERT_TRUE(cache_too_small(fits_ten, 20, 11).has_value());
}

TEST(CacheSize, WhatIsKeptFreeIsNotPromised) {
    EXPECT_TRUE(cache_too_small(fits_ten, 21, 10).has_value());
    EXPECT_EQ(cache_too_small(fits_ten, 19, 10), std::nullopt);
}

TEST(CacheSize, TheSizeThatIsToldIsEnough) {
    const auto wrong = cache_too_small(512 * mib, 20, 100);
    ASSERT_TRUE(wrong.has_value());
    EXPECT_THAT(*wrong, HasSubstr("100 are known"));
    const auto at = wrong->rfind(' ');
    const std::uint64_t told = std::stoull(wrong->substr(at + 1));
    EXPECT_EQ(cache_too_small(told * mib, 20, 100), std::nullopt);
    EXPECT_TRUE(cache_too_small((told - 2) * mib, 20, 100).has_value());
}

}  // namespace
}  // namespace cw::appliance
