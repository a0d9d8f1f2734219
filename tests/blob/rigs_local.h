// Rigs of the stores that need no network.
#pragma once

#include "tests/blob/rig.h"

namespace cw::blob {

std::unique_ptr<Rig> make_directory_rig();
std::unique_ptr<Rig> make_memory_rig();

}  // namespace cw::blob
