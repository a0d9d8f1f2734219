// Machines of a group share a moment: what one had told the other before a group's point is in
// both parts of it, and what came after is in neither.
#pragma once

#include "tests/sim/oracles/watch.h"

#include <set>

namespace cw::sim {

class GroupOracle {
public:
    explicit GroupOracle(Complain complain) : complain_(std::move(complain)) {}
    // A point that is offered as the group's, by the counters in its parts: the first machine
    // counts on when the second has answered with its number.
    void check(const GroupId& group, std::uint64_t first, std::uint64_t second);
    Looks points = 0;

private:
    Complain complain_;
    std::set<GroupId> seen_;
};

}  // namespace cw::sim
