// What the points of a machine say against a commit that its state allows.
//
// Pure.
#pragma once

#include "appliance/operator/machine_state.h"
#include "recovery/catalog.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// Why the machine must not be committed, and what to do; nullopt: nothing says so. `record` is that
// of a commit that has begun. `without`: as still_missing().
std::optional<std::string> commit_refusal(const recovery::Catalog& catalog,
                                          const MachineRecord& record,
                                          const std::vector<std::string>& without);

}  // namespace cw::appliance
