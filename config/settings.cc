#include "config/settings.h"

#include "base/assert.h"
#include "config/fields.h"

#include <algorithm>

namespace cw::config {
namespace {

const PolicyEntry* policy_of(const Settings& settings, const MachineId& machine) {
    const auto found =
        std::ranges::find(settings.policies, to_string(machine), &PolicyEntry::machine);
    return found == settings.policies.end() ? nullptr : &*found;
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

std::uint64_t retention_ms_of(const Settings& settings, const MachineId& machine) {
    const PolicyEntry* const policy = policy_of(settings, machine);
    return policy == nullptr ? settings.points_retention_ms
                             : policy->retention_ms.value_or(settings.points_retention_ms);
}

std::uint64_t rpo_alarm_ms_of(const Settings& settings, const MachineId& machine) {
    const PolicyEntry* const policy = policy_of(settings, machine);
    return policy == nullptr ? settings.points_rpo_alarm_ms
                             : policy->rpo_alarm_ms.value_or(settings.points_rpo_alarm_ms);
}

std::uint64_t points_interval_ms_of(const Settings& settings, const MachineId& machine) {
    const PolicyEntry* const policy = policy_of(settings, machine);
    return policy == nullptr ? settings.points_interval_ms
                             : policy->interval_ms.value_or(settings.points_interval_ms);
}

std::uint64_t app_interval_ms_of(const Settings& settings, const MachineId& machine) {
    const PolicyEntry* const policy = policy_of(settings, machine);
    return policy == nullptr ? settings.points_app_interval_ms
                             : policy->app_interval_ms.value_or(settings.points_app_interval_ms);
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
    for (const PolicyEntry& policy : settings.policies) {
        const auto part = [](const char* key, const std::optional<std::uint64_t>& ms) {
            return ms ? std::string(" ") + key + " " + std::to_string(*ms) + "ms" : std::string();
        };
        out += "policy = " + policy.machine + part("interval", policy.interval_ms) +
               part("app_interval", policy.app_interval_ms) +
               part("retention", policy.retention_ms) + part("rpo_alarm", policy.rpo_alarm_ms) +
               "\n";
    }
    return out;
}

}  // namespace cw::config
