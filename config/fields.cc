#include "config/fields.h"

#include "config/text_checks.h"

#include <charconv>

namespace cw::config {
namespace {

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

}  // namespace

std::string row_name(const SettingRow& row) {
    return std::string(row.section) + "." + std::string(row.key);
}

const SettingRow* find_row(std::string_view section, std::string_view key) {
    for (const SettingRow& row : setting_rows()) {
        if (row.section == section && row.key == key) {
            return &row;
        }
    }
    return nullptr;
}

Result<std::int64_t> parse_ranged(const SettingRow& row, std::string_view text) {
    CW_TRY_ASSIGN(const std::int64_t value, parse_number(row.kind, text));
    CW_TRY_ASSIGN(const std::int64_t low, parse_number(row.kind, row.min));
    CW_TRY_ASSIGN(const std::int64_t high, parse_number(row.kind, row.max));
    if (value < low || value > high) {
        return fail(Errc::config_invalid, std::string(text) + " is outside " +
                                              std::string(row.min) + " … " + std::string(row.max));
    }
    return value;
}

Result<void> set_field(Settings& settings, const SettingRow& row, std::string_view text) {
    const std::string name = row_name(row);
    CW_TRY(check_text(name, text));
#define CW_RANGED(field, section, key)                                    \
    if (name == #section "." #key) {                                      \
        CW_TRY_ASSIGN(const std::int64_t value, parse_ranged(row, text)); \
        assign(settings.field, value);                                    \
        return {};                                                        \
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

}  // namespace cw::config
