#include "config/settings.h"

#include "config/array_tables.h"
#include "config/text_checks.h"

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
    CW_TRY(check_text(name, text));
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

// [[name]]: each table's keys with their texts, for array_tables.cc to make sense of.
Result<ArrayEntry> read_entry(const toml::node& node) {
    const auto* table = node.as_table();
    if (table == nullptr) {
        return fail(Errc::config_invalid, "must be a table");
    }
    ArrayEntry entry;
    for (const auto& [key, value] : *table) {
        std::vector<std::string>& texts = entry[std::string(key.str())];
        if (const auto* list = value.as_array()) {
            for (const auto& element : *list) {
                CW_TRY_ASSIGN(texts.emplace_back(), value_text(element));
            }
        } else {
            CW_TRY_ASSIGN(texts.emplace_back(), value_text(value));
        }
    }
    return entry;
}

template <typename T>
Result<void> read_array(std::vector<T>& out, const toml::node& node, std::string_view name,
                        std::string_view file, Result<T> (*parse)(const ArrayEntry&)) {
    const auto* entries = node.as_array();
    if (entries == nullptr) {
        return bad(file, node.source(), name, "must be written as [[" + std::string(name) + "]]");
    }
    for (const auto& element : *entries) {
        const auto value = [&]() -> Result<T> {
            CW_TRY_ASSIGN(const ArrayEntry entry, read_entry(element));
            return parse(entry);
        }();
        if (!value) {
            return bad(file, element.source(), name, value.error().detail);
        }
        out.push_back(*value);
    }
    return {};
}

Result<void> read_section(Settings& settings, std::string_view section, const toml::table& table,
                          std::string_view file) {
    for (const auto& [key, node] : table) {
        const std::string name = std::string(section) + "." + std::string(key.str());
        if (name == "egress.schedule") {
            CW_TRY(read_array(settings.egress_schedule, node, name, file, parse_window));
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
        if (key.str() == "target") {
            CW_TRY(read_array(settings.targets, node, key.str(), file_name, parse_target));
            continue;
        }
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
    if (running.targets != wanted.targets) {
        names.emplace_back("target");
    }
    return names;
}

Result<void> check_reload(const Settings& running, const Settings& wanted) {
    std::string names;
    for (const std::string& name : fixed_differences(running, wanted)) {
        names += (names.empty() ? "" : ", ") + name;
    }
    return names.empty() ? Result<void>{}
                         : fail(Errc::needs_restart, names + "; nothing was changed");
}

std::string explain_settings(const Settings& settings) {
    std::string out;
    for (const SettingRow& row : setting_rows()) {
        const std::string value = field_text(settings, row);
        out += row_name(row) + " = " + (value.empty() ? "\"\"" : value);
        out += value == field_text(default_settings(), row) ? "  (default)\n" : "\n";
    }
    for (const TargetEntry& target : settings.targets) {
        out += "target = " + target.machine + " " + target.disk + " -> " + target.path + "\n";
    }
    return out;
}

}  // namespace cw::config
