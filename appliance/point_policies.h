// From settings to what agents are told about how often to make points.
#pragma once

#include "config/settings.h"
#include "ingest/policy_table.h"

namespace cw::appliance {

ingest::PolicyTable::Policies point_policies(const config::Settings& settings);

}  // namespace cw::appliance
