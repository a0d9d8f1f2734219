// What the vault holds at this moment, read without a fault, a delay or chance: for oracles that
// must know the truth in the middle of somebody's turn. Nothing can be written through it.
#pragma once

#include "egress/blob/store.h"
#include "tests/fakes/memory_vault.h"

#include <memory>

namespace cw::sim {

// `vault` outlives the store.
std::unique_ptr<blob::BlobStore> make_peek_store(const fakes::MemoryVault& vault);

}  // namespace cw::sim
