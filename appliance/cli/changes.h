// causeway changes: registered beside failback, for which it makes hints.
#pragma once

#include "appliance/cli/cli.h"

namespace cw::appliance {

void add_changes_command(CLI::App& app, Cli& cli);

}  // namespace cw::appliance
