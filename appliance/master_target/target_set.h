// TargetSet: the targets of a master target, found by machine and disk, opened again when one has
// failed.
//
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "appliance/master_target/target_disk.h"

#include <functional>
#include <memory>
#include <vector>

namespace cw::appliance {

class TargetSet {
public:
    TargetSet(std::vector<TargetOptions> targets, volume::VolumeWriter::Context context,
              Conditions& conditions);

    // Opens what is not open, when it is due. True: one was opened or is still missing.
    // `back`: told of each that had failed and is open again.
    bool open_due(Nanos now, const std::function<void(const TargetDisk&)>& back);
    [[nodiscard]] Nanos next_open() const noexcept { return due_; }

    [[nodiscard]] TargetDisk* find(const MachineId& machine, const DiskId& disk);
    // By what HELLO says; learns the id of a disk known by name.
    [[nodiscard]] TargetDisk* find(const MachineId& machine, const pipeline::DiskHello& hello);
    // By what an operator says: the disk's UUID or its configured name.
    [[nodiscard]] TargetDisk* find(const MachineId& machine, const std::string& disk);
    [[nodiscard]] const std::vector<std::unique_ptr<TargetDisk>>& all() const noexcept {
        return targets_;
    }
    [[nodiscard]] bool merging() const noexcept;
    // The newest points that are committed, as the machine's targets alone can tell, oldest first:
    // each target that holds any holds them. None while one of the targets is unsettled.
    [[nodiscard]] std::vector<PointId> committed_points(const MachineId& machine,
                                                        std::size_t count_max) const;
    [[nodiscard]] std::vector<TargetStatus> status() const;

private:
    std::vector<std::unique_ptr<TargetDisk>> targets_;
    Nanos due_{INT64_MIN};
};

}  // namespace cw::appliance
