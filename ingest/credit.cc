#include "ingest/credit.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::ingest {

SharedCredit::SharedCredit(std::uint64_t budget, std::uint64_t window_max)
    : window_max_(window_max), budget_(budget) {
    CW_ASSERT(window_max >= credit_window_min);
}

std::uint64_t SharedCredit::window_bytes() const noexcept {
    const std::uint64_t share = budget_.load() / std::max<std::uint64_t>(1, sessions_.load());
    return std::clamp(share, credit_window_min, window_max_);
}

bool SharedCredit::reserve_below(std::uint64_t bytes, bool leave_some) noexcept {
    std::uint64_t now = reserved_.load();
    do {
        const std::uint64_t budget = budget_.load();
        const std::uint64_t limit = leave_some ? budget / 2 : budget;
        if (now > limit || bytes > limit - now) {
            return false;
        }
    } while (!reserved_.compare_exchange_weak(now, now + bytes));
    return true;
}

bool SharedCredit::reserve(std::uint64_t bytes) noexcept {
    return reserve_below(bytes, false);
}

bool SharedCredit::reserve_more(std::uint64_t bytes) noexcept {
    return reserve_below(bytes, true);
}

CreditPolicy::Windows SharedCredit::least_windows() const noexcept {
    return {.wanted = sessions_.load(), .fitting = budget_.load() / credit_window_min};
}

void SharedCredit::starved(bool begins) noexcept {
    if (begins) {
        starving_.fetch_add(1);
    } else {
        const std::uint64_t before = starving_.fetch_sub(1);
        CW_ASSERT(before > 0);
    }
}

bool SharedCredit::wants_back() const noexcept {
    const Windows windows = least_windows();
    return starving_.load() > 0 && windows.wanted <= windows.fitting;
}

void SharedCredit::unreserve(std::uint64_t bytes) noexcept {
    const std::uint64_t before = reserved_.fetch_sub(bytes);
    CW_ASSERT(before >= bytes);
}

void SharedCredit::session_ended() noexcept {
    const std::uint64_t before = sessions_.fetch_sub(1);
    CW_ASSERT(before > 0);
}

}  // namespace cw::ingest
