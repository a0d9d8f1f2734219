// Points of groups: causeway points --group, and what the other verbs must know before they offer a
// point as a group's.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/group_table.h"

namespace cw::appliance {

// Every machine of the site, `opened`'s as it is open. Reads every history once. Errors: those of
// listing; a machine that cannot be read is in the table as that.
Result<recovery::GroupTable> read_groups(const OpenedCatalog& opened);

// The point that each machine has of this group, and who has none. Errors: usage, point_not_found,
// those of the vault.
Result<void> group_points(Cli& cli, const std::string& group_text);

// `points`: as point_json() gives them. Those with a group get "group_whole" and, where that is
// false, "group_reason". Where none has a group nothing is read.
Result<void> judge_groups(const OpenedCatalog& opened, nlohmann::json& points);

}  // namespace cw::appliance
