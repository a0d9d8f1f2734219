// Oracles over how everything comes to rest once nothing fails any more (G9, G21).
#pragma once

#include "base/conditions.h"
#include "tests/sim/oracles/watch.h"

#include <string_view>

namespace cw::sim {

// In the end the vault holds what the disks hold, and every agent knows it.
class ConvergenceOracle {
public:
    explicit ConvergenceOracle(Complain complain) : complain_(std::move(complain)) {}
    // All has been waited for, for so many rounds, and `who` is not still.
    void on_never_still(std::size_t rounds, const std::string& who);
    // Of one machine: whether its newest point is what its disks hold now, whether a disk of it is
    // still left out, and of how many committed points its agent has not heard.
    void check(bool newest_is_disks, bool left_out, std::size_t untold);
    Looks machines = 0;

private:
    Complain complain_;
};

// A stage that wants to be called at once, again and again, and does nothing, burns a processor.
class IdleOracle {
public:
    explicit IdleOracle(Complain complain) : complain_(std::move(complain)) {}
    // `spins`: how often in a row its thread went to sleep with a deadline that had passed already.
    void on_turn(std::string_view stage, std::size_t spins);
    Looks turns = 0;

private:
    Complain complain_;
};

// What an operator is shown is over when its cause is over.
class ConditionOracle {
public:
    explicit ConditionOracle(Complain complain) : complain_(std::move(complain)) {}
    // Of a server that has come to rest: no fault is left but what somebody has to decide.
    void check(const std::vector<Condition>& standing);
    Looks servers = 0;

private:
    Complain complain_;
};

}  // namespace cw::sim
