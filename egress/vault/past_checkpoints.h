// Which checkpoints a chain has had: where its boundary may move to.
#pragma once

#include "egress/vault/manifest.h"

namespace cw::vault {

// The numbers of up to `count` checkpoints before `state.newest.checkpoint`, ascending, as the
// manifest before each of them names the one before. None below the boundary, and none beyond a
// manifest that cannot be read: they are wanted for housekeeping alone. Blocking: a small read
// each.
std::vector<std::uint64_t> past_checkpoints(blob::BlobStore& store, const VaultIdentity& vault,
                                            const MachineKeys& keys, const ChainState& state,
                                            std::size_t count);

}  // namespace cw::vault
