// From a TOML file to Settings.
#include "base/given_file.h"
#include "config/array_tables.h"
#include "config/fields.h"

#include <algorithm>
#include <set>

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
    std::set<std::string> machines;
    for (const PolicyEntry& policy : settings.policies) {
        if (!machines.insert(policy.machine).second) {
            return fail(
                Errc::config_invalid,
                std::string(file) + ": two [[policy]] tables for machine " + policy.machine);
        }
    }
    return {};
}

}  // namespace

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
        if (key.str() == "policy") {
            CW_TRY(read_array(settings.policies, node, key.str(), file_name, parse_policy));
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
    CW_TRY_ASSIGN(const ByteVector bytes, read_given_file(disk, path, config_bytes_max));
    return parse_settings(as_text(bytes), path);
}

}  // namespace cw::config
