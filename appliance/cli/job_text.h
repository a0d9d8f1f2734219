// Jobs as text.
#pragma once

#include "appliance/operator/record_json.h"

#include <string>

namespace cw::appliance {

// On stdout; `job` is as job_json() or plan_job_json() makes it.
void print_job(const nlohmann::json& job);
std::string point_text(const PointId& point, WallMicros time);

}  // namespace cw::appliance
