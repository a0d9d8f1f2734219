// File systems of a restored image, checked as a system that boots from it would: journals are
// replayed, safe repairs are made, anything that needs a person is a failure. Works on plain files,
// without root, and without ever giving them to this machine's own kernel: they are another
// machine's.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <functional>
#include <string>
#include <vector>

namespace cw::appliance {

enum class Looked : std::uint8_t {
    checked,  // By `tool`, and found good.
    nothing,  // There is nothing to check: swap, zeros, a boot loader's code.
    not_checked,
};
std::string_view name_of(Looked looked) noexcept;

struct FileSystemFinding {
    std::string where;   // "whole disk", "partition 2"
    std::string kind;    // As blkid names it; empty: nothing known.
    std::string tool;    // What checked it: "e2fsck -f -p"; empty: nothing did.
    std::string result;  // "clean", "repaired as at boot", or why it was not checked
    Looked looked = Looked::not_checked;
};

// May write to the image of a disk that is one file system; of partitions it makes copies beside
// the image, one at a time. Errors: drill_failed (a file system needs a person), not_found (blkid
// or sfdisk is missing), io_error, cancelled (as `cancelled` says, which is asked often).
Result<std::vector<FileSystemFinding>> check_file_systems(
    const std::string& image, Clock& clock, const std::function<bool()>& cancelled = {});

}  // namespace cw::appliance
