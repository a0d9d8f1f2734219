#include "appliance/point_policies.h"

#include "base/assert.h"

namespace cw::appliance {

ingest::PolicyTable::Policies point_policies(const config::Settings& settings) {
    ingest::PolicyTable::Policies policies;
    policies.fallback = {settings.points_interval_ms, settings.points_app_interval_ms};
    for (const config::PolicyEntry& policy : settings.policies) {
        const auto machine = parse_id<MachineId>(policy.machine);
        CW_ASSERT(machine.has_value());  // The settings' parser has seen to it.
        policies.by_machine[*machine] = {points_interval_ms_of(settings, *machine),
                                         app_interval_ms_of(settings, *machine)};
    }
    return policies;
}

}  // namespace cw::appliance
