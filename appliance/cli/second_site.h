// What recovery is at a second site only: its targets themselves become a point.
#pragma once

#include "appliance/cli/cli.h"

#include <string>

namespace cw::appliance {

// Which points of a machine could be switched to if it had to be now: reads, beside the daemon,
// what a switch of each target would read. Errors: not_found (no such target), record_corrupt
// (a point is not whole), those of the control socket.
Result<void> target_verify(Cli& cli, const std::string& machine);

// Every target of the machine becomes the point, in place; returns when they are. Said again, it
// goes on with what was begun. Errors: target_switching (another point was chosen), and what
// refuses or stops a target; transition_refused.
Result<void> target_failover(Cli& cli, const OpenedCatalog& opened, const vault::PointEntry& point);

// For verbs that are of a vault alone. Errors: usage at a master target, with what there is
// instead.
Result<void> check_has_vault(Cli& cli, const std::string& instead);

}  // namespace cw::appliance
