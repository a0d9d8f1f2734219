// File systems of a restored image, checked as a system that boots from it would: journals are
// replayed, safe repairs are made, anything that needs a person is a failure. Works on plain files,
// without root and without loop devices.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <functional>
#include <string>
#include <vector>

namespace cw::appliance {

struct FileSystemFinding {
    std::string where;   // "whole disk", "partition 2"
    std::string kind;    // As blkid names it; empty: nothing known.
    std::string result;  // "clean", "repaired", "recognised, not checked", "empty or unknown"
    bool checked = false;
};

// Writes to the image. Errors: drill_failed (a file system needs a person), not_found (blkid or
// sfdisk is missing), io_error, cancelled (as `cancelled` says, which is asked often).
Result<std::vector<FileSystemFinding>> check_file_systems(
    const std::string& image, Clock& clock, const std::function<bool()>& cancelled = {});

}  // namespace cw::appliance
