// PointMerge: makes a point of a machine's targets: one moment of all its disks, or of none. Each
// target merges its redo log into its overlay, piece by piece; the point is told when all have. So
// are those of merges that a target found when it was opened.
//
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "appliance/master_target/target_set.h"
#include "appliance/master_target/volume_outbox.h"

#include <optional>
#include <set>
#include <vector>

namespace cw::appliance {

// What a machine is told of points that its targets hold, oldest first.
std::vector<pipeline::PointStatus> committed_statuses(const TargetSet& targets,
                                                      const MachineId& machine);

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
    void tell_found();
    void tell(const MachineId& machine, const pipeline::Point& point, pipeline::PointStatus status);

    TargetSet& targets_;
    VolumeOutbox& outbox_;
    std::optional<UnderWay> point_;
    std::set<MachineId> found_;  // Theirs were found at a target's open(): nobody asked for them.
};

}  // namespace cw::appliance
