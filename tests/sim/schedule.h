// Schedule: one seed's story. First people, faults and time act on the world at random and only
// safety is asked for; then nothing fails any more and everything has to converge.
#pragma once

#include "tests/sim/world.h"

#include <map>
#include <string>
#include <vector>

namespace cw::sim {

struct Outcome {
    std::optional<Violation> violation;
    std::uint64_t trace_hash = 0, events = 0;
    std::map<std::string, std::uint64_t> counts;
    std::vector<std::string> last_events;
};

Outcome run_schedule(std::uint64_t seed, Mutant mutant, bool print);

}  // namespace cw::sim
