// The commands of an operator's day that stand apart from the read path; see cli.h.
#pragma once

#include "appliance/cli.h"

namespace cw::appliance {

void add_drill_command(CLI::App& app, Cli& cli);     // drill
void add_plan_commands(CLI::App& app, Cli& cli);     // plan run | check | show
void add_doctor_commands(CLI::App& app, Cli& cli);   // doctor, support-bundle
void add_machine_commands(CLI::App& app, Cli& cli);  // disks, policy, cost, keys, servers

}  // namespace cw::appliance
