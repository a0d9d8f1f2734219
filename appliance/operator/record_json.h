// What is known of machines, jobs and plans as the JSON that people's programs read: the command
// line prints it, the control API answers with it.
#pragma once

#include "appliance/operator/machine_records.h"
#include "appliance/operator/plan_runs.h"
#include "base/clock.h"
#include "recovery/catalog.h"

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

// Of `record`, the machine's. `now` tells a living job's process from a dead one's. `done` of a job
// that succeeded is `total`; `seconds` is how long it took, or has taken so far.
nlohmann::json job_json(const Job& job, const MachineRecord& record, const MachineId& machine,
                        WallMicros now);
// A plan's run as a job: its step is the first that is not done.
nlohmann::json plan_job_json(const PlanRun& run, WallMicros now);
// As it stands at `now`, whatever a dead process left in it.
nlohmann::json record_json(const MachineId& machine, const MachineRecord& record, WallMicros now);
// A point of `catalog`, with where it ends on each disk.
nlohmann::json point_json(const recovery::Catalog& catalog, const vault::PointEntry& point);

}  // namespace cw::appliance
