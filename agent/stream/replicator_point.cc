// The one moment of all disks that a point is cut at.
#include "agent/stream/replicator.h"

namespace cw::agent {

// Afterwards every disk is held, and may be part of a point.
Result<void> Replicator::hold_all(Standstill& still) {
    std::vector<DiskCapture*> captures;
    captures.reserve(disks_.size());
    for (const Disk& disk : disks_) {
        captures.push_back(disk.capture);
    }
    if (!still.hold(captures)) {
        return held_too_long(still);
    }
    for (const Disk& disk : disks_) {
        if (!disk.rejected && !disk.capture->consistent_locked()) {
            return fail(Errc::not_ready, "disk '" + disk.name + "' is not consistent (" +
                                             std::string(disk.phase) + ")");
        }
    }
    // All are in hand now, and the rest is quick; but this thread itself may have stood still.
    return still.in_time() ? Result<void>{} : held_too_long(still);
}

Result<void> Replicator::held_too_long(const Standstill& still) {
    const auto& slot = still.waited_for();
    const std::int64_t waited_ns = still.lasted_ns();
    const std::string disk = slot ? disks_.at(*slot).name : "";
    pauses_.gave_up(disk, waited_ns);
    const std::string who = slot ? "disk '" + disk + "' kept the others" : "the agent kept them";
    return fail(Errc::held_too_long,
                who + " waiting for " + std::to_string(waited_ns / ns_per_ms) + " ms");
}

}  // namespace cw::agent
