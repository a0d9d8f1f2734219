// Outputs: where the disks of a recovery point go. A failover is of a machine: every disk of one
// point is brought back, or it is refused before a byte is written. One disk alone is an export.
//
// Pure. Thread-safety: none needed.
#pragma once

#include "recovery/catalog.h"

#include <string>
#include <vector>

namespace cw::appliance {

struct OutputRequest {
    // "PATH" where the point has one disk, else "DISK=PATH" for each; DISK is a name or an id.
    std::vector<std::string> outputs = {};
    // Instead of outputs: every disk to DIRECTORY/<its name, or its id>.<extension>.
    std::string directory = {};
    std::string extension = {};
    std::string disk = {};  // What the caller takes for the only disk; empty: whichever it is.
};

struct DiskOutput {
    recovery::DiskAtPoint disk;
    std::string path;
};

// Every disk of `point`, in its order. Errors: usage, naming what is missing, unknown or doubled.
Result<std::vector<DiskOutput>> place_outputs(const recovery::Catalog& catalog,
                                              const vault::PointEntry& point,
                                              const OutputRequest& request);

// The same for disks as they are.
Result<std::vector<DiskOutput>> place_outputs(const std::vector<recovery::DiskAtPoint>& disks,
                                              const OutputRequest& request);

}  // namespace cw::appliance
