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

}  // namespace cw::appliance
