// A master target's disk in the daemon's status, and that for people.
#pragma once

#include "appliance/master_target/target_status.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

nlohmann::json target_json(const TargetStatus& target);
// Some lines, from what target_json() made.
std::string target_text(const nlohmann::json& target);

}  // namespace cw::appliance
