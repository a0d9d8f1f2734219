// Runs a recovery plan: its steps in order, and none that was done before.
#pragma once

#include "appliance/operator/plan_runs.h"

#include <functional>

namespace cw::appliance {

struct PlanContext {
    Clock& clock;
    Random& random;
    MachineRecords& machines;          // Read only.
    std::string program, config_path;  // Of `causeway` itself, for failover steps.
    std::function<void(const PlanStep&, StepState, const std::string&)> told;
    // The files and devices that a failover step would write; an error: they cannot be known now.
    std::function<Result<std::vector<std::string>>(const PlanStep&)> places;
    std::function<bool()> cancelled = {};  // Asked often.
};

// Whether the places of a failover step without `force` are free, or hold what may be replaced:
// own_files() of this run, if it has begun the step. What nobody noted, and what was touched since,
// is somebody's, as a device always is. `before`: how the run has left the step; `machine`: its
// record, as_it_stands(). Errors: file_exists.
Result<void> check_replaceable(const PlanRun& run, const StepRun& before,
                               const MachineRecord& machine, const std::vector<std::string>& paths);

// Runs what is not done yet. `confirmed`: manual steps that a person has done.
// A step that was interrupted, by `cancelled` or because its runner was killed, is run again. What
// a failover finds in its place stays there and ends the run, unless an earlier try of this run
// brought it back and nobody has touched it since.
// Errors: plan_failed naming the step; transition_refused (a manual step waits; it runs elsewhere;
// before anything is begun or noted: a machine is in no state for its step); cancelled.
Result<PlanRun> run_plan(const Plan& plan, PlanRuns& runs, const PlanContext& context,
                         const std::vector<std::string>& confirmed, bool restart);

}  // namespace cw::appliance
