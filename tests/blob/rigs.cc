// The rigs of blob_test: everything that runs inside this process.
#include "tests/blob/rigs_local.h"

namespace cw::blob {

std::vector<RigMaker> contract_rigs() {
    return {{"Directory", make_directory_rig}, {"Memory", make_memory_rig}};
}

std::vector<RigMaker> movable_clock_rigs() {
    return contract_rigs();
}

}  // namespace cw::blob
