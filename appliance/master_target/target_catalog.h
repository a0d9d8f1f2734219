// What a master target holds of one machine, as a catalog: the points that all of its targets could
// become, the disks, and where their bytes are. Read from the work directories, beside the daemon.
//
// What stands for the number of a point's manifest is its time.
#pragma once

#include "appliance/read_access.h"

namespace cw::appliance {

// Fills in catalog and source of `opened`, whose records are open. Errors: not_found (no [[target]]
// of the machine), config_invalid, record_corrupt, io_error.
Result<void> open_targets(const config::Settings& settings, SystemSeams& seams,
                          const MachineId& machine, OpenedCatalog& opened);

}  // namespace cw::appliance
