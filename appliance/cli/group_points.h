// causeway points --group.
#pragma once

#include "appliance/cli/cli.h"

namespace cw::appliance {

// The point that each machine has of this group, and the machines that share other groups with them
// and have none of this. Errors: usage, point_not_found, those of the vault: a chain that cannot be
// read may hold one.
Result<void> group_points(Cli& cli, const std::string& group_text);

}  // namespace cw::appliance
