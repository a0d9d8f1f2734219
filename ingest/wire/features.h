// Bits of Hello::features beside feature_policy. Optional ones: who does not know them goes on.
#pragma once

#include <cstdint>

namespace cw::wire {

// What follows is a medium's copy of a disk (agent/seed/SEED.md), not the machine's agent: a server
// at which the disk is protected already refuses it, and leaves the agent's session alone.
inline constexpr std::uint64_t feature_seed = 2;

}  // namespace cw::wire
