#include "egress/upload/bandwidth.h"

#include <algorithm>

namespace cw::upload {
namespace {

constexpr std::int64_t minutes_per_day = 1440, us_per_minute = 60'000'000;
constexpr double burst_s = 1.0;  // A quiet link may be used this long above its limit.

}  // namespace

std::uint64_t limit_at(const BandwidthOptions& options, WallMicros wall) {
    const std::int64_t minutes =
        static_cast<std::int64_t>(wall) / us_per_minute + options.utc_offset_minutes;
    const std::int64_t days = minutes / minutes_per_day;
    const auto minute = static_cast<std::uint16_t>(minutes % minutes_per_day);
    const auto weekday = static_cast<unsigned>((days + 3) % 7);  // 1970-01-01 was a Thursday.
    for (const BandwidthRule& rule : options.rules) {
        const auto on = [&rule](unsigned day) { return (rule.days >> day & 1U) != 0; };
        const bool wraps = rule.to_minute <= rule.from_minute;
        const bool evening = minute >= rule.from_minute && (wraps || minute < rule.to_minute);
        // The part after midnight belongs to the day on which the rule began.
        const bool morning = wraps && minute < rule.to_minute;
        if ((evening && on(weekday)) || (morning && on((weekday + 6) % 7))) {
            return rule.bytes_per_s;
        }
    }
    return options.bytes_per_s;
}

void Bandwidth::advance(Nanos now, WallMicros wall) {
    limit_ = limit_at(options_, wall);
    const auto rate = static_cast<double>(limit_);
    const double passed_s = static_cast<double>(std::max<std::int64_t>(now - last_, 0)) / 1e9;
    last_ = now;
    debt_bytes_ = limit_ == 0 ? 0 : std::max(debt_bytes_ - rate * passed_s, -rate * burst_s);
}

void Bandwidth::started(std::uint64_t bytes) noexcept {
    debt_bytes_ += limit_ == 0 ? 0.0 : static_cast<double>(bytes);
}

Nanos Bandwidth::ready_at(Nanos now) const noexcept {
    if (may_start()) {
        return now;
    }
    const double wait_s = debt_bytes_ / static_cast<double>(limit_);
    return now + static_cast<std::int64_t>(std::min(wait_s, 3600.0) * 1e9) + 1;
}

}  // namespace cw::upload
