// What the daemon of a master target tells of one machine's targets: JSON, as target_json() has it.
#pragma once

#include "appliance/cli/cli.h"

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

// Of the daemon's answer to "status": an array, never empty. Errors: usage (not an id), not_found
// (no master target, no such target).
Result<nlohmann::json> targets_in(const std::string& status, const std::string& machine);
// Asks the daemon once. Errors: those, and of ControlClient.
Result<nlohmann::json> targets_of(Cli& cli, const std::string& machine);

}  // namespace cw::appliance
