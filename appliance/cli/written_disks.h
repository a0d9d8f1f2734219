// What a failover or an export has written, for people and for scripts.
#pragma once

#include "appliance/cli/cli.h"
#include "recovery/restore.h"

namespace cw::appliance {

// A disk that was brought back, and where it lies now.
struct WrittenDisk {
    std::string output;
    recovery::RestoreReport report;
};

// `disks` are of one point and not empty; `record` is nullptr for an export. JSON: where it is one
// disk, its fields stand beside the point's as well.
void print_written(const Cli& cli, const std::vector<WrittenDisk>& disks, const std::string& format,
                   const std::string& machine, const MachineRecord* record);

// What was fetched from a vault, to go on with after a comma's place. Empty where nothing was: a
// master target reads its points from its own disks.
std::string fetched_text(std::uint64_t chunk_bytes, std::uint64_t index_bytes);

}  // namespace cw::appliance
