// Array tables of the configuration: [[egress.schedule]], [[target]] and [[policy]], from their
// texts.
#pragma once

#include "config/settings.h"

#include <map>

namespace cw::config {

// The keys of one table, each with its texts; a value that is no list is a list of one.
using ArrayEntry = std::map<std::string, std::vector<std::string>>;

// Errors: config_invalid, without the place, which the caller knows.
Result<BandwidthWindow> parse_window(const ArrayEntry& entry);
Result<TargetEntry> parse_target(const ArrayEntry& entry);
Result<PolicyEntry> parse_policy(const ArrayEntry& entry);

}  // namespace cw::config
