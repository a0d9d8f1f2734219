// Cloned appliances and machines. Appliances: the virtual machine of a process server is copied
// while it runs, as a backup product or a mistake does it, and both go on: one identity, one
// certificate, the same cache. Each may hold the machine's chain at any time; both must not.
#pragma once

#include "base/clock.h"

#include <cstddef>
#include <optional>

namespace cw::sim {

class World;

// Copies the server of `original` as its disk is now; the copy starts as after a power cut. False
// if there is nothing to copy, or a copy already.
bool clone_server(World& world, std::size_t original);

// Copies a protected machine, with its agent, as a template or a snapshot has it: shut down, as
// after a power cut, with its kernel but without the agent, or while the agent runs. Both run and
// write what they like; a point is one copy's, or it is wrong. False if it has a copy already.
bool clone_machine(World& world, std::size_t original);
// As a template is made: shut down when all it logged is in the vault. What two copies can
// take for their own is most where both go on without a fence. False as above.
bool clone_at_rest(World& world, std::size_t original);

// Only one of two copies runs at a time, like a machine and what was restored from its snapshot.
// Both servers and vault hear of each for as long as its turn takes: a moment, or some seconds.
class CopyTurns {
public:
    // Neither machine runs now; `first` has the first turn.
    CopyTurns(World& world, std::size_t first, std::size_t second);
    // After each round: ends a turn that is over.
    void tend();

private:
    void begin();

    World& world_;
    std::size_t now_, next_;
    std::optional<Nanos> half_;  // Then it makes a point.
    Nanos until_{};
};

// Somebody notices: one of each pair goes.
void end_clones(World& world);

}  // namespace cw::sim
