#include "egress/blob/retry_budget.h"

#include <algorithm>

namespace cw::blob {

RetryBudget::RetryBudget(const RetryBudgetOptions& options, Nanos now)
    : options_(options), tokens_(options.burst), refilled_(now) {}

void RetryBudget::first_attempt() noexcept {
    const std::lock_guard guard(mutex_);
    tokens_ = std::min(tokens_ + options_.share, options_.burst);
}

bool RetryBudget::take(Nanos now) noexcept {
    const std::lock_guard guard(mutex_);
    const double passed_s = static_cast<double>(std::max<std::int64_t>(now - refilled_, 0)) /
                            static_cast<double>(ns_per_s);
    tokens_ = std::min(tokens_ + passed_s * options_.trickle_per_s, options_.burst);
    refilled_ = now;
    if (tokens_ < 1) {
        return false;
    }
    tokens_ -= 1;
    return true;
}

void RetryBudget::answered(bool good, Nanos now) noexcept {
    const std::lock_guard guard(mutex_);
    if (!good) {
        failing_since_ = failing_since_.value_or(now);
        return;
    }
    if (failing_since_ && now - *failing_since_ >= options_.outage_ns) {
        ++recoveries_;
    }
    failing_since_.reset();
}

}  // namespace cw::blob
