// Text forms of sizes, times and rates.
#include "config/settings.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>

namespace cw::config {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

Result<std::uint64_t> parse_with_units(std::string_view text, std::span<const Unit> units,
                                       std::string_view what) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return fail(Errc::config_invalid,
                    "'" + std::string(text) + "' is not a " + std::string(what));
    }
    std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    while (suffix.starts_with(' ')) {
        suffix.remove_prefix(1);
    }
    for (const Unit& unit : units) {
        if (unit.name == suffix) {
            if (number > std::numeric_limits<std::int64_t>::max() / unit.factor) {
                return fail(Errc::config_invalid, "'" + std::string(text) + "' is too large");
            }
            return number * unit.factor;
        }
    }
    std::string known;
    for (const Unit& unit : units) {
        known += known.empty() ? "" : ", ";
        known += unit.name.empty() ? "no unit" : unit.name;
    }
    return fail(Errc::config_invalid, "'" + std::string(text) + "' has no known unit; a " +
                                          std::string(what) + " takes " + known);
}

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
    static constexpr std::array<Unit, 9> units{{{"", 1},
                                                {"KiB", kib},
                                                {"MiB", mib},
                                                {"GiB", gib},
                                                {"TiB", 1024 * gib},
                                                {"KB", 1'000},
                                                {"MB", 1'000'000},
                                                {"GB", 1'000'000'000},
                                                {"TB", 1'000'000'000'000}}};
    return parse_with_units(text, units, "size");
}

Result<std::uint64_t> parse_duration_ms(std::string_view text) {
    static constexpr std::array<Unit, 5> units{
        {{"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
    return parse_with_units(text, units, "duration");
}

Result<std::uint64_t> parse_rate(std::string_view text) {
    if (text == "unlimited") {
        return 0;
    }
    static constexpr std::array<Unit, 4> units{
        {{"Kbps", 1'000}, {"Mbps", 1'000'000}, {"Gbps", 1'000'000'000}, {"bps", 1}}};
    CW_TRY_ASSIGN(const std::uint64_t bits, parse_with_units(text, units, "rate"));
    if (bits < 512'000) {
        return fail(Errc::config_invalid, "'" + std::string(text) + "' is below 512Kbps");
    }
    return bits / 8;
}

std::string format_bytes(std::uint64_t bytes) {
    static constexpr std::array<std::string_view, 5> names{"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < names.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value,
                  names[unit].data());
    return out.data();
}

}  // namespace cw::config
