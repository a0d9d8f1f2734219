// PointMerge: makes a point of a machine's targets: one moment of all its disks, or of none. Each
// target merges its redo log into its overlay, piece by piece; the point is told when all have.
//
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "appliance/master_target/target_set.h"
#include "appliance/master_target/volume_outbox.h"

#include <optional>
#include <vector>

namespace cw::appliance {

class PointMerge {
public:
    // Both outlive it.
    PointMerge(TargetSet& targets, VolumeOutbox& outbox) : targets_(targets), outbox_(outbox) {}

    // Not while busy().
    void take(const pipeline::Record& record);
    // No record may be taken: what is merged is what came before.
    [[nodiscard]] bool busy() const noexcept { return point_ || targets_.merging(); }
    // A piece of every merge. True: merges are under way, or have just ended.
    bool step(Nanos now);

private:
    // A point whose targets merge.
    struct UnderWay {
        MachineId machine;
        pipeline::Point point;
        std::vector<TargetDisk*> targets;
    };

    // nullopt: its merges are under way.
    std::optional<pipeline::PointStatus> begin(const pipeline::Record& record,
                                               const pipeline::Point& point);
    void finish();
    void tell(const MachineId& machine, const pipeline::Point& point, pipeline::PointStatus status);

    TargetSet& targets_;
    VolumeOutbox& outbox_;
    std::optional<UnderWay> point_;
};

}  // namespace cw::appliance
