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

bool SharedCredit::reserve(std::uint64_t bytes) noexcept {
    std::uint64_t now = reserved_.load();
    do {
        const std::uint64_t budget = budget_.load();
        if (now > budget || bytes > budget - now) {
            return false;
        }
    } while (!reserved_.compare_exchange_weak(now, now + bytes));
    return true;
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
