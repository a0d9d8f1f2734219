// What the words of options mean. All throw CLI::ValidationError with the option's name.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <utility>

namespace cw::agent {

[[noreturn]] void refuse_option(const std::string& option, const std::string& why);

// "5s", "500ms", "2m", "1h"; a bare number is seconds. At most a million of a unit.
std::int64_t duration_ns(const std::string& option, const std::string& text);

// The same, refused unless it is within.
struct DurationLimits {
    std::int64_t min_ns, max_ns;
    const char* text;  // "is between 1s and 24h"
};
std::int64_t duration_ns(const std::string& option, const std::string& text,
                         const DurationLimits& limits);
// For what is kept still: less is over before it is still, and nobody can be held for days.
inline constexpr DurationLimits hook_limits{1'000'000'000, 24 * 3'600'000'000'000,
                                            "is between 1s and 24h"};

// "128MiB", "1GiB", "0". At most 2^50.
std::uint64_t size_bytes(const std::string& option, const std::string& text);

template <typename T>
T unwrap(const std::string& option, Result<T> result) {
    if (!result) {
        refuse_option(option, to_string(result.error()));
    }
    return std::move(*result);
}

}  // namespace cw::agent
