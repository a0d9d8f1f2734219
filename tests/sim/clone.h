// Cloned appliances and machines. Appliances: the virtual machine of a process server is copied
// while it runs, as a backup product or a mistake does it, and both go on: one identity, one
// certificate, the same cache. Each may hold the machine's chain at any time; both must not.
#pragma once

#include <cstddef>

namespace cw::sim {

class World;

// Copies the server of `original` as its disk is now; the copy starts as after a power cut. False
// if there is nothing to copy, or a copy already.
bool clone_server(World& world, std::size_t original);

// Copies a protected machine, with its agent, as a template or a snapshot has it: shut down, as
// after a power cut, with its kernel but without the agent, or while the agent runs. Both run and
// write what they like; a point is one copy's, or it is wrong. False if it has a copy already.
bool clone_machine(World& world, std::size_t original);
// Somebody notices: one of each pair goes.
void end_clones(World& world);

}  // namespace cw::sim
