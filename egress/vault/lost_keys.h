// What tells a machine that comes for the first time from one whose keys were taken away. Private
// to the vault room.
#pragma once

#include "base/ids.h"
#include "egress/blob/store.h"

namespace cw::vault {

// Asked when `machine` has no key object. One that has been here before is never given new keys:
// what is in the vault would be lost for good, and the name of its own keys taken. Blocking. With
// `must_know` nothing that cannot be asked counts as absent; whoever only reads may not be allowed
// to ask everything. Errors: key_unavailable (the keys are gone, and something of the machine is
// there; the detail names it and the way back), those of head and list.
Result<void> check_never_had_keys(blob::BlobStore& store, const MachineId& machine, bool must_know);

}  // namespace cw::vault
