// Where the failovers of a recovery plan bring their disks, and what is in the way there.
#pragma once

#include "appliance/cli/cli.h"
#include "appliance/operator/outputs.h"
#include "appliance/operator/plan_runs.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// Whether the step's output is in the cloud, where nobody but the service knows what is there.
bool is_in_azure(const PlanStep& step);

// Where the step brings every disk of its point. Errors: those of open_catalog, find_point and
// place_outputs.
Result<std::vector<DiskOutput>> places_of(Cli& cli, const PlanStep& step);

// Whether the step's point is there and every disk of it has its place. `run`: the unfinished one
// that would go on, null without one. Errors: those of places_of and MachineRecords::load;
// file_exists, target_unsafe.
Result<void> check_places(Cli& cli, const PlanStep& step, MachineRecords& machines,
                          const PlanRun* run);

// A plan that was run to its end, or is begun anew by `restart`, would stop where it finds what it
// brought back then, in the middle of the scripts. `file`: the plan's. Errors: file_exists, before
// anything is begun.
Result<void> check_earlier_outputs(Cli& cli, const std::string& file, const Plan& plan,
                                   const std::optional<PlanRun>& earlier, bool restart);

}  // namespace cw::appliance
