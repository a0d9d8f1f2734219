// The [[target]] tables of a configuration, as components take them.
#pragma once

#include "appliance/master_target/target_file.h"
#include "config/settings.h"

#include <vector>

namespace cw::appliance {

// Errors: config_invalid (none, two with one path, work directory or disk).
Result<std::vector<TargetOptions>> target_options(const config::Settings& settings);
// Of one machine. Errors: those; not_found (it has none).
Result<std::vector<TargetOptions>> target_options_of(const config::Settings& settings,
                                                     const MachineId& machine);

}  // namespace cw::appliance
