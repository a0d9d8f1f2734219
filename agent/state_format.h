// What an agent says to files in its state directory that a newer agent wrote: it starts with none
// of them, and leaves all as they are, so that the newer one goes on where it was.
// Thread-safety: values.
#pragma once

#include "base/disk.h"

#include <cstdint>
#include <string>

namespace cw::agent {

inline constexpr std::uint32_t map_version = 1, digests_version = 1, state_version = 1;
inline constexpr std::uint64_t map_magic = 0x50414d4452574331;    // "1CWRDMAP"
inline constexpr std::uint64_t digests_magic = 0x31545347494457;  // "WDIGST1"

Error newer_format(const std::string& path, std::uint64_t found, std::uint64_t known);

// Looks at the header of every dirty map and digest table. They begin with u32 CRC-32C of the rest
// of the first block, u32 version and u64 magic, in every version; what is damaged is no matter
// here, because it is made anew. Errors: format_unsupported, io_error.
Result<void> check_formats(Disk& disk, const std::string& state_directory);

}  // namespace cw::agent
