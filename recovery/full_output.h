// The place of an output without room: what there is, and what may be needed.
// Thread-safety: free functions without state.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace cw::recovery {

// Names the directory in a disk_full (base/full_disk.h), how much room it has for this file and how
// much that may take; other errors stay as they are. `written_to`: where it is written until it is
// whole, and which is removed again; `bytes`: of the whole disk.
Error name_full_output(Error error, const std::string& path, const std::string& written_to,
                       std::uint64_t bytes);

}  // namespace cw::recovery
