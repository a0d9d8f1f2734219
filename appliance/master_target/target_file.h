// The file or device behind a [[target]]: is it there, is it of the right size.
#pragma once

#include "base/disk.h"
#include "base/ids.h"

#include <cstdint>
#include <string>

namespace cw::appliance {

struct TargetOptions {
    MachineId machine;
    std::string disk;  // UUID or the agent's name of it.
    std::string path, identity, work_directory;
    std::uint64_t size_bytes = 0;   // 0: that of `path`. Given: a missing file is created.
    std::int64_t retention_us = 0;  // As VolumeWriter::Options.
};

// The size of options.path; a missing file is created with the configured one, unless something was
// `begun` on it or it is a device: what is missing there is missing. Errors: target_unsafe (size),
// not_found, io_error.
Result<std::uint64_t> find_target_size(Disk& disk, const TargetOptions& options, bool begun);

}  // namespace cw::appliance
