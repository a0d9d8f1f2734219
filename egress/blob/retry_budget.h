// A shared allowance for repeated requests: retries may add about a tenth to the traffic, however
// many connections fail at once, so that a struggling store is not pushed further down.
#pragma once

#include "base/clock.h"

#include <atomic>
#include <mutex>
#include <optional>

namespace cw::blob {

struct RetryBudgetOptions {
    double share = 0.1;          // Earned by each first attempt.
    double burst = 10;           // Most that can be saved up, and what there is at the start.
    double trickle_per_s = 0.2;  // Earned by time, so that an idle store recovers too.
    std::int64_t outage_ns = 5 * ns_per_s;  // So long without an answer is an outage.
};

// Thread-safe: one budget serves all stores of a factory.
class RetryBudget {
public:
    RetryBudget(const RetryBudgetOptions& options, Nanos now);
    // A request that is not a repetition.
    void first_attempt() noexcept;
    // May one more request be made beyond the first attempts?
    bool take(Nanos now) noexcept;
    // What became of a request. The first answer after an outage ends it: whatever waits since then
    // may be asked once more without counting, else the allowance would outlast the outage.
    void answered(bool good, Nanos now) noexcept;
    // How many outages have ended.
    [[nodiscard]] std::uint64_t recoveries() const noexcept { return recoveries_.load(); }

private:
    const RetryBudgetOptions options_;
    std::mutex mutex_;
    double tokens_;
    Nanos refilled_;
    std::optional<Nanos> failing_since_;  // The first failure since the last good answer.
    std::atomic<std::uint64_t> recoveries_{0};
};

}  // namespace cw::blob
