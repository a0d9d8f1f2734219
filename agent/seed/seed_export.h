// The first copy of a disk onto a medium: an image, and the manifest that says what must be in it.
//
// Neither name appears before its file is whole. A copy of a disk that is written meanwhile is a
// mixture of moments, which does not matter for a seed: whatever differs is sent later.
#pragma once

#include "agent/scan/freezer.h"
#include "agent/seed/seed_file.h"

#include <functional>

namespace cw::agent {

struct SeedExport {
    MachineId machine;
    std::string machine_name, disk_name;
    std::string source;       // Image or block device.
    SeedFile output;          // The manifest goes to its path + ".seed".
    bool still = false;       // A person vouches that nobody writes to the source.
    bool replace = false;     // What is there already.
    Freezer::Options freeze;  // Keeps the source still while it is read or cloned.
};

inline constexpr std::string_view seed_manifest_suffix = ".seed";

// Called now and then; false ends the work with `cancelled`.
using SeedProgress = std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// Blocking. Returns the encoded manifest. Errors: file_exists, not_found, source_gone, io_error,
// hook_failed, cancelled, those of create_seed_file().
Result<ByteVector> export_seed(const SeedExport& request, cw::Disk& disk, Clock& clock,
                               const SeedProgress& progress);

// Reads all of an image as an import would. Errors: those of SeedImage, cancelled.
Result<void> check_seed(BlockImage& image, const SeedProgress& progress);

}  // namespace cw::agent
