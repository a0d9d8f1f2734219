// When to try again: first 1, 2, 4, 8 seconds (a restart or a lost packet), then 1, 2, 4, 8, 10
// minutes, then every 30. Each pause is spread by ± 20 % so that a thousand agents do not come back
// together. Pure apart from the random source.
#pragma once

#include "base/clock.h"
#include "base/random.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace cw::agent {

class RetryPolicy {
public:
    explicit RetryPolicy(Random& random) : random_(random) {}

    // The pause before the next attempt, in nanoseconds. `at_least_s`: the server's Retry-After.
    std::int64_t next_pause(std::int64_t at_least_s = 0) {
        const std::int64_t step = pauses_s[std::min(failures_, pauses_s.size() - 1)];
        ++failures_;
        const std::int64_t base = std::max(step, at_least_s) * ns_per_s;
        const auto spread = static_cast<std::uint64_t>(base / 5 * 2);
        const auto jitter = static_cast<std::int64_t>(random_.below(spread + 1));
        // Never before Retry-After; otherwise around the step.
        return at_least_s > 0 ? base + jitter : base - base / 5 + jitter;
    }
    void succeeded() noexcept { failures_ = 0; }
    [[nodiscard]] std::size_t failures() const noexcept { return failures_; }

    static constexpr std::array<std::int64_t, 10> pauses_s{1,   2,   4,   8,   60,
                                                           120, 240, 480, 600, 1800};

private:
    Random& random_;
    std::size_t failures_ = 0;
};

}  // namespace cw::agent
