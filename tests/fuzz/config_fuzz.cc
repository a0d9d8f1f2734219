// Settings files. Whatever is accepted keeps the bounds of its table and can be shown.
#include "base/assert.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "config/settings.h"

#include <set>

namespace {

using namespace cw::config;

// What is in force for a machine is what its policy says, or what is for every machine.
void check_policies(const Settings& settings) {
    std::set<std::string> machines;
    for (const PolicyEntry& policy : settings.policies) {
        CW_ASSERT(machines.insert(policy.machine).second);
        const auto machine = cw::parse_id<cw::MachineId>(policy.machine);
        CW_ASSERT(machine && to_string(*machine) == policy.machine);
        CW_ASSERT(points_interval_ms_of(settings, *machine) ==
                  policy.interval_ms.value_or(settings.points_interval_ms));
        CW_ASSERT(app_interval_ms_of(settings, *machine) ==
                  policy.app_interval_ms.value_or(settings.points_app_interval_ms));
        CW_ASSERT(retention_ms_of(settings, *machine) ==
                  policy.retention_ms.value_or(settings.points_retention_ms));
        CW_ASSERT(rpo_alarm_ms_of(settings, *machine) ==
                  policy.rpo_alarm_ms.value_or(settings.points_rpo_alarm_ms));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = cw::as_text({reinterpret_cast<const std::byte*>(data), size});
    if (const auto settings = parse_settings(text, "fuzz.toml")) {
        CW_ASSERT(!explain_settings(*settings).empty());
        CW_ASSERT(check_reload(*settings, *settings).has_value());
        const Settings usual = default_settings();
        const bool same = fixed_differences(usual, *settings).empty();
        CW_ASSERT(check_reload(usual, *settings).has_value() == same);
        check_policies(*settings);
        for (const BandwidthWindow& window : settings->egress_schedule) {
            CW_ASSERT(window.from_minute <= 24 * 60 && window.to_minute <= 24 * 60);
        }
    }
    if (const auto bytes = parse_bytes(text)) {
        CW_ASSERT(!format_bytes(*bytes).empty());
    }
    static_cast<void>(parse_duration_ms(text));
    static_cast<void>(parse_rate(text));
    return 0;
}
