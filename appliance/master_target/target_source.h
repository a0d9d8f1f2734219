// The bytes of a machine's points on the disks of a master target, read beside its daemon.
#pragma once

#include "appliance/master_target/target_file.h"
#include "appliance/read_access.h"

#include <string>
#include <vector>

namespace cw::appliance {

// `targets`: of one machine. `reader`: nobody else's, as volume::PointPin::take() has it.
std::unique_ptr<const PointSource> make_target_source(std::vector<TargetOptions> targets,
                                                      const std::string& state_directory,
                                                      std::string reader);

}  // namespace cw::appliance
