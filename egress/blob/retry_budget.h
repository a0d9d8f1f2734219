// A shared allowance for repeated requests: retries may add about a tenth to the traffic, however
// many connections fail at once, so that a struggling store is not pushed further down.
#pragma once

#include "base/clock.h"

#include <mutex>

namespace cw::blob {

struct RetryBudgetOptions {
    double share = 0.1;          // Earned by each first attempt.
    double burst = 10;           // Most that can be saved up, and what there is at the start.
    double trickle_per_s = 0.2;  // Earned by time, so that an idle store recovers too.
};

// Thread-safe: one budget serves all stores of a factory.
class RetryBudget {
public:
    RetryBudget(const RetryBudgetOptions& options, Nanos now);
    // A request that is not a repetition.
    void first_attempt() noexcept;
    // May one more request be made beyond the first attempts?
    bool take(Nanos now) noexcept;

private:
    const RetryBudgetOptions options_;
    std::mutex mutex_;
    double tokens_;
    Nanos refilled_;
};

}  // namespace cw::blob
