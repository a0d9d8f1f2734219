// Cloned appliances: the virtual machine of a process server is copied while it runs, as a backup
// product or a mistake does it, and both go on: one identity, one certificate, the same cache.
// Each may hold the machine's chain at any time; both must not.
#pragma once

#include <cstddef>

namespace cw::sim {

class World;

// Copies the server of `original` as its disk is now; the copy starts as after a power cut. False
// if there is nothing to copy, or a copy already.
bool clone_server(World& world, std::size_t original);

}  // namespace cw::sim
