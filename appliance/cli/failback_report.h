// What a failback has done, for people and for scripts.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/failback.h"

#include <string>
#include <vector>

namespace cw::appliance {

struct ReturnedTarget {
    std::string target;  // The old disk's path.
    std::string name;    // The disk's: data.
    recovery::FailbackReport report;
    std::string hint;  // What became of it; empty: there was none.
};

// `targets` are of one point and not empty. JSON: where it is one disk, its fields stand beside the
// point's as well.
void print_failback(const Cli& cli, const std::vector<ReturnedTarget>& targets,
                    const MachineId& machine, const MachineRecord& record);

struct GivenUp {
    std::vector<std::string> dropped;  // Targets of which something had been collected.
    ReturnedDisks returned;            // As it was; of a nil point if no disk had been switched.
    MachineState state{};              // Of the machine, now.
};
void print_given_up(const Cli& cli, const GivenUp& given_up);

}  // namespace cw::appliance
