#include "config/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

#include <toml++/toml.h>

namespace cw::config {
namespace {

constexpr std::size_t config_bytes_max = 1024 * 1024;

// "file:line:column: section.key: " in front of what is wrong.
std::unexpected<Error> bad(std::string_view file, const toml::source_region& at,
                           std::string_view key, const std::string& what) {
    return fail(Errc::config_invalid, std::string(file) + ":" + std::to_string(at.begin.line) +
                                          ":" + std::to_string(at.begin.column) + ": " +
                                          std::string(key) + ": " + what);
}

std::string row_name(const SettingRow& row) {
    return std::string(row.section) + "." + std::string(row.key);
}

Result<std::int64_t> parse_integer(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return fail(Errc::config_invalid, "'" + std::string(text) + "' is not a whole number");
    }
    return value;
}

// The number behind a textual value of a ranged kind.
Result<std::int64_t> parse_number(SettingKind kind, std::string_view text) {
    if (kind == SettingKind::integer) {
        return parse_integer(text);
    }
    CW_TRY_ASSIGN(const std::uint64_t value,
                  kind == SettingKind::bytes ? parse_bytes(text) : parse_duration_ms(text));
    return static_cast<std::int64_t>(value);
}

Result<std::int64_t> ranged(const SettingRow& row, std::string_view text) {
    CW_TRY_ASSIGN(const std::int64_t value, parse_number(row.kind, text));
    CW_TRY_ASSIGN(const std::int64_t low, parse_number(row.kind, row.min));
    CW_TRY_ASSIGN(const std::int64_t high, parse_number(row.kind, row.max));
    if (value < low || value > high) {
        return fail(Errc::config_invalid, std::string(text) + " is outside " +
                                              std::string(row.min) + " … " + std::string(row.max));
    }
    return value;
}

bool is_choice(std::string_view choices, std::string_view text) {
    while (!choices.empty()) {
        const auto bar = choices.find('|');
        if (choices.substr(0, bar) == text) {
            return true;
        }
        choices = bar == std::string_view::npos ? std::string_view{} : choices.substr(bar + 1);
    }
    return false;
}

void assign(std::int64_t& field, std::int64_t value) {
    field = value;
}
void assign(std::uint64_t& field, std::int64_t value) {
    field = static_cast<std::uint64_t>(value);
}

// Sets the field of row `name` from its text form.
Result<void> set_field(Settings& settings, const SettingRow& row, std::string_view text) {
    const std::string name = row_name(row);
#define CW_RANGED(field, section, key)                              \
    if (name == #section "." #key) {                                \
        CW_TRY_ASSIGN(const std::int64_t value, ranged(row, text)); \
        assign(settings.field, value);                              \
        return {};                                                  \
    }
#define CW_INTEGER(section, key, fallback, min, max, life, help) \
    CW_RANGED(section##_##key, section, key)
#define CW_BYTES(section, key, fallback, min, max, life, help) \
    CW_RANGED(section##_##key, section, key)
#define CW_DURATION(section, key, fallback, min, max, life, help) \
    CW_RANGED(section##_##key##_ms, section, key)
#define CW_RATE(section, key, fallback, life, help)                \
    if (name == #section "." #key) {                               \
        CW_TRY_ASSIGN(settings.section##_##key, parse_rate(text)); \
        return {};                                                 \
    }
#define CW_BOOLEAN(section, key, fallback, life, help)                  \
    if (name == #section "." #key) {                                    \
        if (text != "true" && text != "false") {                        \
            return fail(Errc::config_invalid, "must be true or false"); \
        }                                                               \
        settings.section##_##key = text == "true";                      \
        return {};                                                      \
    }
#define CW_TEXT(section, key, fallback, life, help) \
    if (name == #section "." #key) {                \
        settings.section##_##key = text;            \
        return {};                                  \
    }
#define CW_CHOICE(section, key, fallback, choices, life, help)            \
    if (name == #section "." #key) {                                      \
        if (!is_choice(choices, text)) {                                  \
            return fail(Errc::config_invalid, "must be one of " choices); \
        }                                                                 \
        settings.section##_##key = text;                                  \
        return {};                                                        \
    }
#include "config/settings_rows.h"
#undef CW_RANGED
    return fail(Errc::config_invalid, "no such setting");
}

// How a field would be written in the file, without quotes.
std::string field_text(const Settings& settings, const SettingRow& row) {
    const std::string name = row_name(row);
#define CW_SHOWN(section, key, expression) \
    if (name == #section "." #key) {       \
        return expression;                 \
    }
#define CW_INTEGER(section, key, fallback, min, max, life, help) \
    CW_SHOWN(section, key, std::to_string(settings.section##_##key))
#define CW_BYTES(section, key, fallback, min, max, life, help) \
    CW_SHOWN(section, key, std::to_string(settings.section##_##key))
#define CW_DURATION(section, key, fallback, min, max, life, help) \
    CW_SHOWN(section, key, std::to_string(settings.section##_##key##_ms) + "ms")
#define CW_RATE(section, key, fallback, life, help)                   \
    CW_SHOWN(section, key,                                            \
             settings.section##_##key == 0 ? std::string("unlimited") \
                                           : std::to_string(settings.section##_##key * 8) + "bps")
#define CW_BOOLEAN(section, key, fallback, life, help) \
    CW_SHOWN(section, key, settings.section##_##key ? "true" : "false")
#define CW_TEXT(section, key, fallback, life, help) CW_SHOWN(section, key, settings.section##_##key)
#define CW_CHOICE(section, key, fallback, choices, life, help) \
    CW_SHOWN(section, key, settings.section##_##key)
#include "config/settings_rows.h"
#undef CW_SHOWN
    return {};
}

const SettingRow* find_row(std::string_view section, std::string_view key) {
    for (const SettingRow& row : setting_rows()) {
        if (row.section == section && row.key == key) {
            return &row;
        }
    }
    return nullptr;
}

// Letters that differ, position by position, plus the difference in length: enough to guess a typo.
std::size_t distance(std::string_view a, std::string_view b) {
    std::size_t different = a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        different += a[i] != b[i] ? 1 : 0;
    }
    return different;
}

std::string unknown_key(std::string_view section, std::string_view key) {
    std::string best;
    std::size_t best_distance = 4;
    for (const SettingRow& row : setting_rows()) {
        if (row.section == section && distance(row.key, key) < best_distance) {
            best = row.key;
            best_distance = distance(row.key, key);
        }
    }
    return best.empty() ? "no such setting; see docs/settings.md"
                        : "no such setting; did you mean " + best + "?";
}

Result<std::string> value_text(const toml::node& node) {
    if (const auto* text = node.as_string()) {
        return text->get();
    }
    if (const auto* number = node.as_integer()) {
        return std::to_string(number->get());
    }
    if (const auto* flag = node.as_boolean()) {
        return std::string(flag->get() ? "true" : "false");
    }
    return fail(Errc::config_invalid, "must be text, a whole number, true or false");
}

Result<std::uint16_t> parse_minute(std::string_view text) {
    const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
    if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4)) {
        return fail(Errc::config_invalid, "'" + std::string(text) + "' is not a time like 22:00");
    }
    const int hour = (text[0] - '0') * 10 + text[1] - '0';
    const int minute = (text[3] - '0') * 10 + text[4] - '0';
    if (hour > 24 || minute > 59 || (hour == 24 && minute != 0)) {
        return fail(Errc::config_invalid, "'" + std::string(text) + "' is not a time of day");
    }
    return static_cast<std::uint16_t>(hour * 60 + minute);
}

Result<std::uint8_t> parse_day(std::string_view text) {
    static constexpr std::array<std::string_view, 7> names{"mon", "tue", "wed", "thu",
                                                           "fri", "sat", "sun"};
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        return fail(Errc::config_invalid,
                    "'" + std::string(text) + "' is not a day: mon tue wed thu fri sat sun");
    }
    return static_cast<std::uint8_t>(1U << (found - names.begin()));
}

Result<BandwidthWindow> parse_window(const toml::table& table) {
    BandwidthWindow window;
    bool has_limit = false;
    for (const auto& [key, node] : table) {
        if (key.str() == "days") {
            const auto* days = node.as_array();
            if (days == nullptr || days->empty()) {
                return fail(Errc::config_invalid, "days must be a list like [\"mon\", \"tue\"]");
            }
            window.days = 0;
            for (const auto& day : *days) {
                CW_TRY_ASSIGN(const std::string text, value_text(day));
                CW_TRY_ASSIGN(const std::uint8_t bit, parse_day(text));
                window.days = static_cast<std::uint8_t>(window.days | bit);
            }
            continue;
        }
        CW_TRY_ASSIGN(const std::string text, value_text(node));
        if (key.str() == "from") {
            CW_TRY_ASSIGN(window.from_minute, parse_minute(text));
        } else if (key.str() == "to") {
            CW_TRY_ASSIGN(window.to_minute, parse_minute(text));
        } else if (key.str() == "limit") {
            CW_TRY_ASSIGN(window.bytes_per_second, parse_rate(text));
            has_limit = true;
        } else {
            return fail(Errc::config_invalid, "a window has days, from, to and limit");
        }
    }
    if (!has_limit) {
        return fail(Errc::config_invalid, "a window needs a limit");
    }
    return window;
}

Result<void> read_schedule(Settings& settings, const toml::node& node, std::string_view file) {
    const auto* windows = node.as_array();
    if (windows == nullptr) {
        return bad(file, node.source(), "egress.schedule",
                   "must be written as [[egress.schedule]]");
    }
    for (const auto& entry : *windows) {
        const auto* table = entry.as_table();
        auto window = table == nullptr
                          ? Result<BandwidthWindow>(fail(Errc::config_invalid, "must be a table"))
                          : parse_window(*table);
        if (!window) {
            return bad(file, entry.source(), "egress.schedule", window.error().detail);
        }
        settings.egress_schedule.push_back(*window);
    }
    return {};
}

Result<void> read_section(Settings& settings, std::string_view section, const toml::table& table,
                          std::string_view file) {
    for (const auto& [key, node] : table) {
        const std::string name = std::string(section) + "." + std::string(key.str());
        if (name == "egress.schedule") {
            CW_TRY(read_schedule(settings, node, file));
            continue;
        }
        const SettingRow* row = find_row(section, key.str());
        if (row == nullptr) {
            return bad(file, key.source(), name, unknown_key(section, key.str()));
        }
        const auto text = value_text(node);
        if (!text) {
            return bad(file, node.source(), name, text.error().detail);
        }
        if (const auto set = set_field(settings, *row, *text); !set) {
            return bad(file, node.source(), name, set.error().detail);
        }
    }
    return {};
}

Result<void> check_together(const Settings& settings, std::string_view file) {
    if (settings.cache_critical_free >= settings.cache_warn_free ||
        settings.cache_throttle_free >= settings.cache_critical_free) {
        return fail(Errc::config_invalid,
                    std::string(file) +
                        ": cache.throttle_free must be below cache.critical_free, "
                        "and that below cache.warn_free");
    }
    return {};
}

}  // namespace

Settings default_settings() {
    Settings settings{};
    for (const SettingRow& row : setting_rows()) {
        const auto set = set_field(settings, row, row.fallback);
        CW_ASSERT(set.has_value());  // A default outside its own range.
    }
    return settings;
}

Result<Settings> parse_settings(std::string_view text, std::string_view file_name) {
    const auto parsed = [&]() -> Result<toml::table> {
        try {
            return toml::parse(text, file_name);
        } catch (const toml::parse_error& error) {
            return bad(file_name, error.source(), "syntax", std::string(error.description()));
        }
    }();
    CW_TRY(parsed);
    Settings settings = default_settings();
    for (const auto& [key, node] : *parsed) {
        const auto* table = node.as_table();
        if (table == nullptr) {
            return bad(file_name, key.source(), key.str(), "settings stand in a [section]");
        }
        CW_TRY(read_section(settings, key.str(), *table, file_name));
    }
    CW_TRY(check_together(settings, file_name));
    return settings;
}

Result<Settings> load_settings(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, config_bytes_max));
    return parse_settings(as_text(bytes), path);
}

std::vector<std::string> fixed_differences(const Settings& running, const Settings& wanted) {
    std::vector<std::string> names;
    for (const SettingRow& row : setting_rows()) {
        if (row.life == SettingLife::fixed && field_text(running, row) != field_text(wanted, row)) {
            names.push_back(row_name(row));
        }
    }
    return names;
}

std::string explain_settings(const Settings& settings) {
    std::string out;
    for (const SettingRow& row : setting_rows()) {
        const std::string value = field_text(settings, row);
        out += row_name(row) + " = " + (value.empty() ? "\"\"" : value);
        out += value == field_text(default_settings(), row) ? "  (default)\n" : "\n";
    }
    return out;
}

std::uint64_t bandwidth_at(const std::vector<BandwidthWindow>& windows, unsigned weekday,
                           unsigned minute, std::uint64_t otherwise) noexcept {
    for (const BandwidthWindow& window : windows) {
        const bool wraps = window.to_minute <= window.from_minute;
        // After midnight a wrapping window belongs to the day on which it began.
        const bool tail = wraps && minute < window.to_minute;
        const unsigned day = tail ? (weekday + 6) % 7 : weekday;
        const bool inside =
            tail || (minute >= window.from_minute && (wraps || minute < window.to_minute));
        if (inside && ((window.days >> day) & 1U) != 0) {
            return window.bytes_per_second;
        }
    }
    return otherwise;
}

}  // namespace cw::config
