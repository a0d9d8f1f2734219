// The old disks of one failback: all are compared before the first is switched.
#pragma once

#include "appliance/cli/point.h"
#include "appliance/cli/progress.h"
#include "appliance/operator/outputs.h"
#include "recovery/failback.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// One old disk on its way.
struct OldDisk {
    DiskOutput place;
    recovery::FailbackRequest request;
    std::string hint;                                 // What became of it.
    std::optional<recovery::FailbackReport> resumed;  // An interrupted switch made it the point.
    std::unique_ptr<recovery::CollectedFailback> collected;
    bool back = false;

    [[nodiscard]] const recovery::FailbackReport& report() const {
        return resumed ? *resumed : collected->report();
    }
};

// Makes `disks` the point. Whatever was not switched is as it was, and what was collected for it is
// forgotten. Errors: those of collect_failback(), of its switch and of note_return(); cancelled.
Result<void> bring_back(std::vector<OldDisk>& disks, const OpenedCatalog& opened,
                        const vault::PointEntry& point, recovery::FailbackContext context,
                        ShownJob& job);

std::string paths_of(const std::vector<OldDisk>& disks, bool back_only);

}  // namespace cw::appliance
