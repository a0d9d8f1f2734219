#include "appliance/cli/failback_disks.h"

#include "appliance/cli/stop_signal.h"
#include "base/crash_point.h"

namespace cw::appliance {
namespace {

// All of them, so that none is switched before each could be. Errors: those of collect_failback().
Result<void> collect_all(std::vector<OldDisk>& disks, const OpenedCatalog& opened,
                         recovery::FailbackContext context, ShownJob& job) {
    for (OldDisk& old : disks) {
        if (!old.resumed) {
            CW_TRY_ASSIGN(old.collected, recovery::collect_failback(
                                             *opened.source, *opened.catalog, context, old.request,
                                             job.progress("comparing " + old.request.target.path)));
        }
    }
    return {};
}

ReturnedDisks wanted_of(const recovery::Catalog& catalog, const vault::PointEntry& point) {
    ReturnedDisks wanted{.point = point.id, .point_time = point.source_time, .disks = {}};
    for (const recovery::DiskAtPoint& disk : disks_of(catalog, point)) {
        wanted.disks.push_back({disk.disk, disk.name, DiskReturn::missing});
    }
    return wanted;
}

// One after the other, each noted before its first byte is written and when it is the point.
Result<void> switch_all(std::vector<OldDisk>& disks, const ReturnedDisks& wanted, ShownJob& job) {
    for (OldDisk& old : disks) {
        const DiskId& disk = old.place.disk.disk;
        if (old.collected && old.collected->report().blocks_different > 0) {
            if (stop_requested()) {
                return fail(Errc::cancelled, old.place.path + " is as it was");
            }
            CW_TRY(job.run().note_return(wanted, disk, DiskReturn::switching));
            CW_CRASH_POINT("failback.noted");
        }
        if (old.collected) {
            CW_TRY(old.collected->complete());
            CW_CRASH_POINT("failback.switched");
        }
        old.back = true;
        CW_TRY(job.run().note_return(wanted, disk, DiskReturn::back));
        CW_CRASH_POINT("failback.disk_back");
    }
    return {};
}

}  // namespace

Result<void> bring_back(std::vector<OldDisk>& disks, const OpenedCatalog& opened,
                        const vault::PointEntry& point, recovery::FailbackContext context,
                        ShownJob& job) {
    auto result = collect_all(disks, opened, context, job);
    if (result) {
        result = switch_all(disks, wanted_of(*opened.catalog, point), job);
    }
    if (result) {
        return {};
    }
    for (OldDisk& old : disks) {
        const auto phase =
            recovery::failback_phase(context.disk, old.request.target.work_directory);
        if (old.collected && phase && *phase == volume::Phase::collecting) {
            std::ignore = old.collected->drop();
        }
    }
    return result;
}

std::string paths_of(const std::vector<OldDisk>& disks, bool back_only) {
    std::string out;
    for (const OldDisk& old : disks) {
        if (old.back || !back_only) {
            out += (out.empty() ? "" : " ") + old.place.path;
        }
    }
    return out;
}

}  // namespace cw::appliance
