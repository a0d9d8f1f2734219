// Jobs and a machine's record as JSON and as text.
#pragma once

#include "appliance/operator/machine_records.h"
#include "appliance/operator/plan.h"
#include "base/clock.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

// `now` tells a living job's process from a dead one's.
nlohmann::json job_json(const Job& job, const MachineId& machine, WallMicros now);
// A plan's run as a job: its step is the first that is not done.
nlohmann::json plan_job_json(const PlanRun& run, WallMicros now);
nlohmann::json record_json(const MachineId& machine, const MachineRecord& record, WallMicros now);
// On stdout; `job` is as one of the first two makes it.
void print_job(const nlohmann::json& job);
std::string point_text(const PointId& point, WallMicros time);

}  // namespace cw::appliance
