// Outputs: where the disks of a recovery point go. A failover is of a machine: every disk of one
// point is brought back, or it is refused before a byte is written. One disk alone is an export.
// So is a failback, unless one disk alone is asked for: the machine then waits for the others.
//
// Pure. Thread-safety: none needed.
#pragma once

#include "recovery/catalog.h"

#include <string>
#include <string_view>
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

std::vector<std::string> paths_of(const std::vector<DiskOutput>& outputs);

// Every disk of `point`, in its order. Errors: usage, naming what is missing, unknown or doubled.
Result<std::vector<DiskOutput>> place_outputs(const recovery::Catalog& catalog,
                                              const vault::PointEntry& point,
                                              const OutputRequest& request);

// The same for disks as they are.
Result<std::vector<DiskOutput>> place_outputs(const std::vector<recovery::DiskAtPoint>& disks,
                                              const OutputRequest& request);

// What people say of some disks of a point, each as "DISK=VALUE"; where there is one disk, "VALUE"
// alone. The result has every disk in its order; an empty path: nothing was said of it.
// Errors: usage (a disk that is not there, twice, or without a value). `option` is for messages.
Result<std::vector<DiskOutput>> assign_to_disks(const std::vector<recovery::DiskAtPoint>& disks,
                                                const std::vector<std::string>& words,
                                                std::string_view option);

struct TargetRequest {
    std::vector<std::string> targets;  // As OutputRequest has outputs.
    std::string disk = {};             // This one alone is wanted; empty: every one.
    std::vector<DiskId> back = {};     // Those that need none: they are the point already.
};

// The old disks of a failback: for every disk of `disks`, or for the one that is wanted alone.
// Errors: usage, naming what is missing, unknown or doubled; not_found (no such disk).
Result<std::vector<DiskOutput>> place_targets(const std::vector<recovery::DiskAtPoint>& disks,
                                              const TargetRequest& request);

// Every disk of `point`, in its order.
std::vector<recovery::DiskAtPoint> disks_of(const recovery::Catalog& catalog,
                                            const vault::PointEntry& point);

}  // namespace cw::appliance
