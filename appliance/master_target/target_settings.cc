#include "appliance/master_target/target_settings.h"

#include <algorithm>

namespace cw::appliance {

Result<std::vector<TargetOptions>> target_options(const config::Settings& settings) {
    if (settings.targets.empty()) {
        return fail(Errc::config_invalid, "a master target needs at least one [[target]]");
    }
    std::vector<TargetOptions> out;
    for (const config::TargetEntry& entry : settings.targets) {
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(entry.machine));
        const std::string work = entry.work.empty() ? settings.server_state_dir + "/targets/" +
                                                          entry.machine + "/" + entry.disk
                                                    : entry.work;
        const bool twice = std::ranges::any_of(out, [&](const TargetOptions& other) {
            return other.path == entry.path || other.work_directory == work ||
                   (other.machine == machine && other.disk == entry.disk);
        });
        if (twice) {
            return fail(Errc::config_invalid,
                        "two [[target]] tables name the same path, work or disk: " + entry.path);
        }
        out.push_back({.machine = machine,
                       .disk = entry.disk,
                       .path = entry.path,
                       .identity = entry.identity,
                       .work_directory = work,
                       .size_bytes = entry.size_bytes,
                       .retention_us =
                           static_cast<std::int64_t>(settings.points_target_retention_ms) * 1000});
    }
    return out;
}

Result<std::vector<TargetOptions>> target_options_of(const config::Settings& settings,
                                                     const MachineId& machine) {
    CW_TRY_ASSIGN(auto targets, target_options(settings));
    std::erase_if(targets, [&](const TargetOptions& one) { return one.machine != machine; });
    if (targets.empty()) {
        return fail(Errc::not_found, "no target for machine " + to_string(machine));
    }
    return targets;
}

}  // namespace cw::appliance
