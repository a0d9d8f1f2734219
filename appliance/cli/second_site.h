// The verbs of recovery at a second site that main.cc does not know by itself.
#pragma once

#include "appliance/cli/cli.h"

#include <string>

namespace cw::appliance {

// Which points of a machine could be switched to if it had to be now: reads, beside the daemon,
// what a switch of each target would read. Errors: not_found (no such target), record_corrupt
// (a point is not whole), those of the control socket.
Result<void> target_verify(Cli& cli, const std::string& machine);

}  // namespace cw::appliance
