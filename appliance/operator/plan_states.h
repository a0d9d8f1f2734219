// Whether the states of its machines let a plan's steps be taken, asked before the first of them
// is: a step that is refused in the middle of a bad day comes after scripts that have run.
#pragma once

#include "appliance/operator/plan_runs.h"

namespace cw::appliance {

struct RefusedStep {
    const PlanStep* step = nullptr;  // Borrowed of the plan.
    Error why;
};

// Whether a run that begins now goes on with `earlier`: it was not finished, and is of this file.
bool goes_on(const Plan& plan, const std::optional<PlanRun>& earlier);

// What a run that begins now would do: every step, or those that an unfinished run of the same file
// has not done. Borrowed of `plan`.
std::vector<const PlanStep*> steps_to_do(const Plan& plan, const std::optional<PlanRun>& earlier);

// Of `steps`, in this order, those whose verb begin_job() would refuse in the state that the
// machine is in then: as it is now, and as the steps before have made it. What a script or a person
// does in between is not known, and not counted with.
// Errors: those of MachineRecords::load.
Result<std::vector<RefusedStep>> refused_steps(const std::vector<const PlanStep*>& steps,
                                               MachineRecords& machines, Random& random,
                                               WallMicros now);

}  // namespace cw::appliance
