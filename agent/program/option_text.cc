#include "agent/program/option_text.h"

#include "base/clock.h"
#include "base/ids.h"

#include <charconv>

#include <CLI/CLI.hpp>

namespace cw::agent {

void refuse_option(const std::string& option, const std::string& why) {
    throw CLI::ValidationError(option, why);
}

std::int64_t duration_ns(const std::string& option, const std::string& text) {
    std::int64_t number = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::int64_t scale = unit == "ms"                  ? ns_per_ms
                               : unit == "s" || unit.empty() ? ns_per_s
                               : unit == "m"                 ? 60 * ns_per_s
                               : unit == "h"                 ? 3600 * ns_per_s
                                                             : 0;
    if (bad != std::errc{} || scale == 0 || number < 0 || number > 1'000'000) {
        refuse_option(option, "'" + text + "' is not a duration such as 5s or 500ms");
    }
    return number * scale;
}

std::int64_t duration_ns(const std::string& option, const std::string& text,
                         const DurationLimits& limits) {
    const std::int64_t ns = duration_ns(option, text);
    if (ns < limits.min_ns || ns > limits.max_ns) {
        refuse_option(option, limits.text);
    }
    return ns;
}

std::uint64_t size_bytes(const std::string& option, const std::string& text) {
    std::uint64_t number = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::uint64_t scale = unit.empty()                   ? 1
                                : unit == "KiB" || unit == "K" ? kib
                                : unit == "MiB" || unit == "M" ? mib
                                : unit == "GiB" || unit == "G" ? gib
                                                               : 0;
    if (bad != std::errc{} || scale == 0 || number > (1ULL << 50) / scale) {
        refuse_option(option, "'" + text + "' is not a size such as 128MiB");
    }
    return number * scale;
}

}  // namespace cw::agent
