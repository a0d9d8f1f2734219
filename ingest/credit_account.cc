#include "ingest/credit_account.h"

#include <algorithm>

namespace cw::ingest {
namespace {

constexpr std::uint64_t step_max = 4 * mib, step_min = 256 * kib;
constexpr unsigned idle_ticks_min = 8;

// Takes `bytes`, or half of them, or half of that …; 0 when there is too little to be worth it.
std::uint64_t take_what_there_is(std::uint64_t bytes, const auto& reserve) {
    while (!reserve(bytes)) {
        bytes /= 2;
        if (bytes < step_min) {
            return 0;
        }
    }
    return bytes;
}

}  // namespace

bool CreditAccount::grow() noexcept {
    const std::uint64_t before = granted_;
    top_up();
    if (const bool starves = outstanding() < credit_window_min; starves != starving_) {
        starving_ = starves;
        policy_.starved(starves);
    }
    return granted_ > before;
}

void CreditAccount::top_up() noexcept {
    const std::uint64_t window = std::min(std::max(demand_, 2 * recent_), policy_.window_bytes());
    demand_ = window;
    if (outstanding() >= window) {
        return;
    }
    const bool can_wait = available() >= credit_window_min;  // For any frame there may be.
    if (can_wait && window - outstanding() < std::min(window / 8, step_max)) {
        return;
    }
    if (outstanding() < credit_window_min) {
        granted_ += take_what_there_is(credit_window_min - outstanding(),
                                       [this](std::uint64_t n) { return policy_.reserve(n); });
    }
    if (outstanding() >= credit_window_min && outstanding() < window) {
        granted_ += take_what_there_is(window - outstanding(),
                                       [this](std::uint64_t n) { return policy_.reserve_more(n); });
    }
}

bool CreditAccount::hoards() const noexcept {
    return idle_ticks_ >= idle_ticks_min && in_flight_ == 0 &&
           available() >= credit_window_min + step_min;
}

void CreditAccount::tick() noexcept {
    demand_ = std::max({credit_window_idle, 2 * recent_, demand_ - demand_ / 8});
    idle_ticks_ = recent_ == 0 ? idle_ticks_ + 1 : 0;
    recent_ = 0;
}

}  // namespace cw::ingest
