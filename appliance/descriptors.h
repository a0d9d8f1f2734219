// File descriptors: what the cache, the vault, recovery and the control port may need at once is
// kept for them, and peers share the rest. A crowd at the door can then take none of theirs.
#pragma once

#include "base/error.h"
#include "config/settings.h"

#include <cstdint>

namespace cw::appliance {

// Raises this process's limit to the most it may have without a privilege. Returns what it is then.
std::uint64_t raise_descriptor_limit();

// Descriptors that no connection of a peer may take.
std::uint64_t descriptors_kept(const config::Settings& settings);

// ingest.max_connections, or as many as `limit` descriptors leave room for.
// Errors: config_invalid (the limit is too low to serve anybody; names one that is not).
Result<std::int64_t> connections_within(const config::Settings& settings, std::uint64_t limit);

}  // namespace cw::appliance
