#include "recovery/catalog.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace cw::recovery {
namespace {

// `count` digits at `at`, advanced past them and past `separator` (0: none).
Result<int> digits(std::string_view& text, std::size_t count, char separator) {
    int value = 0;
    if (text.size() < count) {
        return fail(Errc::usage, "a time looks like 2026-11-20T18:16:44Z");
    }
    const auto parsed = std::from_chars(text.data(), text.data() + count, value);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + count || value < 0) {
        return fail(Errc::usage, "a time looks like 2026-11-20T18:16:44Z");
    }
    text.remove_prefix(count);
    if (separator != 0) {
        if (!text.starts_with(separator)) {
            return fail(Errc::usage, "a time looks like 2026-11-20T18:16:44Z");
        }
        text.remove_prefix(1);
    }
    return value;
}

// ".123456" as microseconds.
Result<std::int64_t> fraction(std::string_view& text) {
    std::int64_t us = 0, scale = 100'000;
    text.remove_prefix(1);
    while (!text.empty() && text.front() >= '0' && text.front() <= '9' && scale > 0) {
        us += (text.front() - '0') * scale;
        scale /= 10;
        text.remove_prefix(1);
    }
    return us;
}

}  // namespace

std::string time_text(WallMicros time) {
    using namespace std::chrono;
    const sys_time<microseconds> at{microseconds{raw(time)}};
    const auto day = floor<days>(at);
    const year_month_day date{day};
    const hh_mm_ss clock{at - day};
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d",
                  static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                  static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                  static_cast<int>(clock.minutes().count()),
                  static_cast<int>(clock.seconds().count()));
    std::string out = text.data();
    if (const auto us = clock.subseconds().count(); us != 0) {
        std::snprintf(text.data(), text.size(), ".%06d", static_cast<int>(us));
        out += text.data();
    }
    return out + "Z";
}

Result<WallMicros> parse_time(std::string_view text) {
    using namespace std::chrono;
    CW_TRY_ASSIGN(const int years, digits(text, 4, '-'));
    CW_TRY_ASSIGN(const int months, digits(text, 2, '-'));
    CW_TRY_ASSIGN(const int day, digits(text, 2, 'T'));
    CW_TRY_ASSIGN(const int hour, digits(text, 2, ':'));
    CW_TRY_ASSIGN(const int minute, digits(text, 2, 0));
    int second = 0;
    std::int64_t us = 0;
    if (text.starts_with(':')) {
        text.remove_prefix(1);
        CW_TRY_ASSIGN(second, digits(text, 2, 0));
    }
    if (text.starts_with('.')) {
        CW_TRY_ASSIGN(us, fraction(text));
    }
    const year_month_day date{year{years}, month{static_cast<unsigned>(months)},
                              std::chrono::day{static_cast<unsigned>(day)}};
    if (text != "Z" || !date.ok() || hour > 23 || minute > 59 || second > 60) {
        return fail(Errc::usage, "a time looks like 2026-11-20T18:16:44Z (UTC)");
    }
    const auto at = sys_days{date} + hours{hour} + minutes{minute} + seconds{second};
    return WallMicros{microseconds{at.time_since_epoch()}.count() + us};
}

}  // namespace cw::recovery
