// The bytes of a machine's points on the disks of a master target, read beside its daemon.
#pragma once

#include "appliance/read_access.h"

#include <memory>

namespace cw::appliance {

// Of the machine of `catalog`, which a master target's Site has opened. Errors: as
// target_options_of().
Result<std::unique_ptr<const recovery::PointSource>> open_target_source(
    const config::Settings& settings, SystemSeams& seams, const recovery::Catalog& catalog);

}  // namespace cw::appliance
