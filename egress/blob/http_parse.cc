#include "egress/blob/http_parse.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

namespace cw::blob {
namespace {

constexpr std::array<std::string_view, 7> weekdays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::int64_t seconds_per_day = 86'400, retry_after_ns_max = 3600 * ns_per_s;

struct Day {
    std::int64_t year;
    unsigned month, day;  // From 1.
};

// Days since 1970-01-01 of the proleptic Gregorian calendar, and back: eras of 400 years.
std::int64_t days_of(Day d) noexcept {
    const std::int64_t y = d.month <= 2 ? d.year - 1 : d.year;
    const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
    const auto year_of_era = static_cast<unsigned>(y - era * 400);
    const unsigned shifted = d.month > 2 ? d.month - 3 : d.month + 9;
    const unsigned day_of_year = (153 * shifted + 2) / 5 + d.day - 1;
    const unsigned day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + static_cast<std::int64_t>(day_of_era) - 719'468;
}

Day day_of(std::int64_t days) noexcept {
    const std::int64_t z = days + 719'468;
    const std::int64_t era = (z >= 0 ? z : z - 146'096) / 146'097;
    const auto day_of_era = static_cast<unsigned>(z - era * 146'097);
    const unsigned year_of_era =
        (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const unsigned day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned shifted = (5 * day_of_year + 2) / 153;
    const unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
    return {static_cast<std::int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month,
            day_of_year - (153 * shifted + 2) / 5 + 1};
}

std::optional<unsigned> digits(std::string_view text) {
    const auto value = parse_decimal(text);
    return value ? std::optional<unsigned>(static_cast<unsigned>(*value)) : std::nullopt;
}

std::string_view trim(std::string_view text) noexcept {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
    while (!text.empty() && blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && blank(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

std::optional<std::int64_t> bounded_ns(std::optional<std::uint64_t> value, std::int64_t unit_ns) {
    if (!value) {
        return std::nullopt;
    }
    const auto most = static_cast<std::uint64_t>(retry_after_ns_max / unit_ns);
    return static_cast<std::int64_t>(std::min(*value, most)) * unit_ns;
}

}  // namespace

std::string_view header_of(const HttpHeaders& headers, std::string_view name) noexcept {
    const auto found = std::ranges::find(headers, name, &HttpHeaders::value_type::first);
    return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

std::optional<std::pair<std::string, std::string>> parse_header_line(std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) {
        return std::nullopt;
    }
    std::string name(line.substr(0, colon));
    for (char& c : name) {
        if (c <= ' ' || c >= 0x7f) {
            return std::nullopt;
        }
        if (c >= 'A' && c <= 'Z') {
            c = static_cast<char>(c - 'A' + 'a');
        }
    }
    return std::pair(std::move(name), std::string(trim(line.substr(colon + 1))));
}

std::string format_http_date(std::int64_t unix_s) {
    const std::int64_t days =
        unix_s >= 0 ? unix_s / seconds_per_day : (unix_s - seconds_per_day + 1) / seconds_per_day;
    const auto second = static_cast<unsigned>(unix_s - days * seconds_per_day);
    const Day day = day_of(days);
    const auto weekday = static_cast<std::size_t>(((days + 4) % 7 + 7) % 7);
    std::array<char, 64> text{};
    const int n = std::snprintf(text.data(), text.size(), "%s, %02u %s %04lld %02u:%02u:%02u GMT",
                                weekdays[weekday].data(), day.day, months[day.month - 1].data(),
                                static_cast<long long>(day.year), second / 3600, second / 60 % 60,
                                second % 60);
    return {text.data(), static_cast<std::size_t>(n)};
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
    // Fixed columns: "Fri, 20 Nov 2026 15:56:27 GMT".
    if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' ||
        text[16] != ' ' || text[19] != ':' || text[22] != ':' || text.substr(25) != " GMT") {
        return std::nullopt;
    }
    const auto month = std::ranges::find(months, text.substr(8, 3));
    const auto day = digits(text.substr(5, 2)), year = digits(text.substr(12, 4));
    const auto hour = digits(text.substr(17, 2)), minute = digits(text.substr(20, 2)),
               second = digits(text.substr(23, 2));
    if (month == months.end() || !day || !year || !hour || !minute || !second || *day < 1 ||
        *day > 31 || *year < 1970 || *hour > 23 || *minute > 59 || *second > 60) {
        return std::nullopt;
    }
    const auto month_number = static_cast<unsigned>(month - months.begin()) + 1;
    return days_of({*year, month_number, *day}) * seconds_per_day + *hour * 3600 + *minute * 60 +
           *second;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
    if (text.empty() || text.size() > 19) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return value;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
    constexpr std::string_view unit = "bytes ";
    const std::size_t dash = text.find('-'), slash = text.find('/');
    if (!text.starts_with(unit) || dash == std::string_view::npos ||
        slash == std::string_view::npos || dash > slash) {
        return std::nullopt;
    }
    const auto first = parse_decimal(text.substr(unit.size(), dash - unit.size()));
    const auto last = parse_decimal(text.substr(dash + 1, slash - dash - 1));
    const auto size = parse_decimal(text.substr(slash + 1));
    if (!first || !last || !size || *first > *last || *last >= *size) {
        return std::nullopt;
    }
    return ContentRange{*first, *last, *size};
}

std::optional<std::int64_t> parse_retry_after_ns(const HttpHeaders& headers, std::int64_t now_s) {
    for (const std::string_view name : {"retry-after-ms", "x-ms-retry-after-ms"}) {
        if (const auto ns = bounded_ns(parse_decimal(header_of(headers, name)), ns_per_ms)) {
            return ns;
        }
    }
    const std::string_view text = header_of(headers, "retry-after");
    if (const auto ns = bounded_ns(parse_decimal(text), ns_per_s)) {
        return ns;
    }
    if (const auto date = parse_http_date(text)) {
        return bounded_ns(static_cast<std::uint64_t>(std::max<std::int64_t>(0, *date - now_s)),
                          ns_per_s);
    }
    return std::nullopt;
}

}  // namespace cw::blob
