// What a master target holds of one machine, as a catalog: the points that all of its targets could
// become, the disks, and where their bytes are. Read from the work directories, beside the daemon.
//
// What stands for the number of a point's manifest is its time.
#pragma once

#include "appliance/read_access.h"

namespace cw::appliance {

// `records`: where the site keeps those. Both references outlive it. Site::open()'s errors:
// not_found (no [[target]] of the machine), config_invalid, record_corrupt, io_error.
std::unique_ptr<const Site> make_target_site(const config::Settings& settings, SystemSeams& seams,
                                             const vault::VaultIdentity& records);

}  // namespace cw::appliance
