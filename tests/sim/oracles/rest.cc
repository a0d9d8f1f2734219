#include "tests/sim/oracles/rest.h"

#include <set>

namespace cw::sim {

void ConvergenceOracle::on_never_still(std::size_t rounds, const std::string& who) {
    complain_("convergence",
              "not still after " + std::to_string(rounds) + " rounds without faults:" + who);
}

void ConvergenceOracle::check(bool newest_is_disks, bool left_out, std::size_t untold) {
    ++machines;
    if (!newest_is_disks) {
        complain_("convergence", "the last point is not what the disks hold");
    }
    if (left_out) {
        complain_("convergence", "a disk has not come back");
    }
    if (untold > 0) {
        complain_("convergence", "of " + std::to_string(untold) +
                                     " committed points the agent was not told that they are");
    }
}

void IdleOracle::on_turn(std::string_view stage, std::size_t spins) {
    constexpr std::size_t spins_max = 2000;
    ++turns;
    if (spins > spins_max) {
        complain_("idle", "stage " + std::string(stage) +
                              " wants to be called at once, again and again, and does nothing");
    }
}

// A person has to see or to decide that two use one identity, that an agent was sent away for its
// old state, what the cache has lost, and what it keeps of a machine that another server owns.
void ConditionOracle::check(const std::vector<Condition>& standing) {
    ++servers;
    std::set<std::string> fenced;
    for (const Condition& condition : standing) {
        if (condition.code == Errc::fenced) {
            fenced.insert(condition.subject);
        }
    }
    for (const Condition& condition : standing) {
        const bool kept = fenced.contains(condition.subject) ||
                          (condition.code == Errc::spool_full && !fenced.empty()) ||
                          condition.code == Errc::identity_refused ||
                          condition.code == Errc::state_superseded ||
                          condition.code == Errc::spool_lost_durable;
        if (!kept) {
            complain_("condition", std::string(name_of(condition.code)) + " of " +
                                       condition.subject +
                                       " stands although its cause is over: " + condition.detail);
        }
    }
}

}  // namespace cw::sim
