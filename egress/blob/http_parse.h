// The small grammars of HTTP that the client reads itself: header lines, dates, Content-Range,
// Retry-After. All input is hostile; nothing here fails louder than "absent".
//
// Pure functions, safe from any thread.
#pragma once

#include "base/clock.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cw::blob {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // Names in lower case.

// The first header of that name (given in lower case), or empty.
std::string_view header_of(const HttpHeaders& headers, std::string_view name) noexcept;

// "Name: value\r\n": the name in lower case and the value without outer blanks.
std::optional<std::pair<std::string, std::string>> parse_header_line(std::string_view line);

// "Fri, 20 Nov 2026 15:56:27 GMT" (IMF-fixdate, the only form the store sends), Unix seconds.
std::string format_http_date(std::int64_t unix_s);
std::optional<std::int64_t> parse_http_date(std::string_view text);

// Decimal digits only, at most 19.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

struct ContentRange {
    std::uint64_t first, last, size;
    friend bool operator==(const ContentRange&, const ContentRange&) = default;
};
// "bytes 0-3/11"; first <= last < size holds.
std::optional<ContentRange> parse_content_range(std::string_view text);

// How long the store asks to wait: retry-after-ms, x-ms-retry-after-ms, or Retry-After in seconds
// or as a date, judged at `now_s`. At most one hour; nothing asked: nullopt.
std::optional<std::int64_t> parse_retry_after_ns(const HttpHeaders& headers, std::int64_t now_s);

}  // namespace cw::blob
