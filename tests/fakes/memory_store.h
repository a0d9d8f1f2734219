// A BlobStore on a MemoryVault. See memory_vault.h for faults and the adversary.
#pragma once

#include "egress/blob/store.h"

namespace cw::fakes {

class MemoryVault;

// `vault` outlives the factory and its stores.
std::unique_ptr<blob::StoreFactory> make_memory_factory(MemoryVault& vault);

}  // namespace cw::fakes
