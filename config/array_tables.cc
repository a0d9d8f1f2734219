#include "config/array_tables.h"

#include "base/assert.h"
#include "config/fields.h"

#include <algorithm>
#include <array>

namespace cw::config {
namespace {

Result<std::string> single(const std::string& key, const std::vector<std::string>& texts) {
    if (texts.size() != 1) {
        return fail(Errc::config_invalid, key + " has one value");
    }
    return texts.front();
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

Result<std::uint8_t> parse_days(const std::vector<std::string>& texts) {
    if (texts.empty()) {
        return fail(Errc::config_invalid, "days must be a list like [\"mon\", \"tue\"]");
    }
    std::uint8_t days = 0;
    for (const std::string& text : texts) {
        CW_TRY_ASSIGN(const std::uint8_t bit, parse_day(text));
        days = static_cast<std::uint8_t>(days | bit);
    }
    return days;
}

bool is_uuid(std::string_view text) {
    if (text.size() != 36) {
        return false;
    }
    return std::ranges::all_of(
        text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-'; });
}

// It becomes part of a directory's name.
bool is_plain_name(std::string_view text) {
    return !text.empty() && text.size() <= 128 && text.front() != '.' &&
           std::ranges::all_of(text, [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '-' || c == '_' || c == '.' || c == '+';
           });
}

Result<void> check_target(const TargetEntry& target) {
    if (!is_uuid(target.machine)) {
        return fail(Errc::config_invalid, "machine must be its id, a lower-case UUID");
    }
    if (!is_plain_name(target.disk)) {
        return fail(Errc::config_invalid,
                    "disk must be its id, or its name of letters, digits and . _ + -");
    }
    if (!target.path.starts_with('/')) {
        return fail(Errc::config_invalid, "path must be an absolute path");
    }
    if (!target.work.empty() && !target.work.starts_with('/')) {
        return fail(Errc::config_invalid, "work must be an absolute path");
    }
    if (target.size_bytes % sector_bytes != 0) {
        return fail(Errc::config_invalid, "size must be a multiple of 512 bytes");
    }
    return {};
}

// Within the range of the setting that it stands for.
Result<std::uint64_t> ranged_duration(std::string_view section, std::string_view key,
                                      std::string_view text) {
    const SettingRow* const row = find_row(section, key);
    CW_ASSERT(row != nullptr && row->kind == SettingKind::duration);
    CW_TRY_ASSIGN(const std::int64_t value, parse_ranged(*row, text));
    return static_cast<std::uint64_t>(value);
}

}  // namespace

Result<BandwidthWindow> parse_window(const ArrayEntry& entry) {
    BandwidthWindow window;
    for (const auto& [key, texts] : entry) {
        if (key == "days") {
            CW_TRY_ASSIGN(window.days, parse_days(texts));
            continue;
        }
        CW_TRY_ASSIGN(const std::string text, single(key, texts));
        if (key == "from") {
            CW_TRY_ASSIGN(window.from_minute, parse_minute(text));
        } else if (key == "to") {
            CW_TRY_ASSIGN(window.to_minute, parse_minute(text));
        } else if (key == "limit") {
            CW_TRY_ASSIGN(window.bytes_per_second, parse_rate(text));
        } else {
            return fail(Errc::config_invalid, "a window has days, from, to and limit");
        }
    }
    if (!entry.contains("limit")) {
        return fail(Errc::config_invalid, "a window needs a limit");
    }
    return window;
}

Result<TargetEntry> parse_target(const ArrayEntry& entry) {
    TargetEntry target;
    for (const auto& [key, texts] : entry) {
        CW_TRY_ASSIGN(const std::string text, single(key, texts));
        if (key == "machine") {
            target.machine = text;
        } else if (key == "disk") {
            target.disk = text;
        } else if (key == "path") {
            target.path = text;
        } else if (key == "identity") {
            target.identity = text;
        } else if (key == "work") {
            target.work = text;
        } else if (key == "size") {
            CW_TRY_ASSIGN(target.size_bytes, parse_bytes(text));
        } else {
            return fail(Errc::config_invalid,
                        "'" + key + "': a target has machine, disk, path, size, identity and work");
        }
    }
    CW_TRY(check_target(target));
    return target;
}

Result<PolicyEntry> parse_policy(const ArrayEntry& entry) {
    PolicyEntry policy;
    for (const auto& [key, texts] : entry) {
        CW_TRY_ASSIGN(const std::string text, single(key, texts));
        if (key == "machine") {
            policy.machine = text;
        } else if (key == "interval") {
            CW_TRY_ASSIGN(policy.interval_ms, ranged_duration("points", "interval", text));
        } else if (key == "app_interval") {
            CW_TRY_ASSIGN(policy.app_interval_ms, ranged_duration("points", "app_interval", text));
        } else if (key == "retention") {
            CW_TRY_ASSIGN(policy.retention_ms, ranged_duration("points", "retention", text));
        } else if (key == "rpo_alarm") {
            CW_TRY_ASSIGN(policy.rpo_alarm_ms, ranged_duration("points", "rpo_alarm", text));
        } else {
            return fail(Errc::config_invalid,
                        "'" + key +
                            "': a policy has machine, interval, app_interval, "
                            "retention and rpo_alarm");
        }
    }
    if (!is_uuid(policy.machine) || !parse_id<MachineId>(policy.machine)) {
        return fail(Errc::config_invalid, "machine must be its id, a lower-case UUID");
    }
    return policy;
}

}  // namespace cw::config
