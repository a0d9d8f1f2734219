#include "appliance/resync_window.h"

#include "base/assert.h"
#include "base/ids.h"

namespace cw::appliance {
namespace {

constexpr std::int64_t us_per_minute = 60'000'000, minutes_per_day = 1440;

// "hh:mm" at `at`; the settings' parser has seen to it.
std::int64_t minute_at(std::string_view window, std::size_t at) {
    const auto digit = [&](std::size_t i) { return std::int64_t{window[at + i]} - '0'; };
    return (digit(0) * 10 + digit(1)) * 60 + digit(3) * 10 + digit(4);
}

}  // namespace

WallMicros window_opens(std::string_view window, WallMicros now, std::int32_t utc_offset_minutes) {
    if (window.empty()) {
        return now;
    }
    CW_ASSERT(window.size() == 11);
    const std::int64_t from = minute_at(window, 0) % minutes_per_day;
    const std::int64_t length =
        (minute_at(window, 6) - from + 2 * minutes_per_day) % minutes_per_day;
    const std::int64_t local = raw(now) / us_per_minute + utc_offset_minutes;
    const std::int64_t since = (local - from + minutes_per_day) % minutes_per_day;
    if (length == 0 || since < length) {
        return now;
    }
    return WallMicros{(local + minutes_per_day - since - utc_offset_minutes) * us_per_minute};
}

}  // namespace cw::appliance
