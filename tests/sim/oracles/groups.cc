#include "tests/sim/oracles/groups.h"

namespace cw::sim {

void GroupOracle::check(const GroupId& group, std::uint64_t first, std::uint64_t second) {
    points += seen_.insert(group).second ? 1 : 0;
    if (second > first || first > second + 1) {
        complain_("groups", "group point " + to_string(group) + " is no moment: one machine has " +
                                std::to_string(first) + " and the other " + std::to_string(second));
    }
}

}  // namespace cw::sim
