// Tests that go through many seeds do with fewer of them where each takes many times longer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace cw::fakes {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CW_TEST_ADDRESS_SANITIZER 1
#elif __has_feature(thread_sanitizer)
#define CW_TEST_THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CW_TEST_ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define CW_TEST_THREAD_SANITIZER 1
#endif

#if defined(CW_TEST_ADDRESS_SANITIZER)
inline constexpr std::uint64_t sanitizer_share = 10;
#elif defined(CW_TEST_THREAD_SANITIZER)
inline constexpr std::uint64_t sanitizer_share = 25;
#else
inline constexpr std::uint64_t sanitizer_share = 1;
#endif

// How many seeds (rounds, cuts) of the `plain` number this build goes through: all of them, or with
// a sanitizer one in `sanitizer_share`, and at least one. CAUSEWAY_SEEDS_FACTOR=n: n times as many.
inline std::uint64_t seeds(std::uint64_t plain) {
    const char* factor = std::getenv("CAUSEWAY_SEEDS_FACTOR");
    const std::uint64_t times = factor == nullptr ? 1 : std::strtoull(factor, nullptr, 10);
    return std::max<std::uint64_t>(plain / sanitizer_share, 1) * std::max<std::uint64_t>(times, 1);
}

}  // namespace cw::fakes
