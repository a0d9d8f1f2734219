// VolumeSnapshots: LVM snapshots of the disks that a scan reads, so that their writers are held for
// the moment in which they are made only.
//
// A snapshot's name is made of its disk, its tag of its machine: what a killed agent left is known
// by them, and removed before another one is made. One thing at a time is under way; step() until
// it is done. Passive: step() never waits. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/scan/block_image.h"
#include "agent/scan/lvm_tools.h"
#include "base/ids.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class VolumeSnapshots {
public:
    struct Disk {
        DiskId id;
        std::string path;  // A name that lvs knows; see lvm_name_of().
        std::uint64_t size_bytes = 0;
    };
    struct Options {
        MachineId machine;
        std::string size = "10%";  // Of its disk, or bytes: the room for what is overwritten.
    };
    VolumeSnapshots(Options options, LvmTools tools, Clock& clock, std::vector<Disk> disks);
    // What was made is removed; waits for that, for ten seconds at most.
    ~VolumeSnapshots();

    // Before anybody is held: removes what is left over, and looks at the volumes.
    void begin_prepare();
    // After that, while the disks stand still: a snapshot of each.
    void begin_create();
    // After that, when they need not stand still any more: where the snapshots are.
    void begin_find();
    // Before anything read of the snapshots is believed: that none ran full.
    void begin_check();
    // Whatever was made is removed; views that were taken must be closed by now.
    void begin_remove();
    // True while it is under way.
    bool step();
    // Of what was done last. Errors: snapshot_failed.
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
    // In the order of the disks, after begin_find() succeeded. Errors: snapshot_failed.
    Result<std::vector<std::unique_ptr<BlockImage>>> open_views();

private:
    enum class Task : std::uint8_t { none, sweep, sweep_one, look, create, find, check, remove };
    [[nodiscard]] std::string name_of_snapshot(const DiskId& id) const;
    void begin(Task task);
    // Starts what `task_` does for `at_`, or ends it after the last one.
    void go_on();
    void take(const std::string& printed);
    void take_volume(const std::string& printed);
    void take_leftovers(const std::string& printed);
    void give_up(const Error& why);
    bool remove_again(const Error& why);
    void end() { task_ = Task::none; }

    const Options options_;
    const std::string tag_;
    LvmTools tools_;
    Clock& clock_;
    std::vector<Disk> disks_;
    Task task_ = Task::none;
    std::size_t at_ = 0;
    std::vector<LogicalVolume> origins_, snapshots_;  // By disk; snapshots_: those that stand.
    std::vector<std::string> leftovers_;
    unsigned tries_ = 0;
    Nanos next_try_{};
    std::optional<Error> error_;
};

// Whether the block device at `path` is a logical volume, by what the kernel tells of it: its name
// beneath /dev/mapper then. `sys` is where sysfs is mounted.
std::optional<std::string> lvm_name_of(const std::string& path, const std::string& sys = "/sys");

}  // namespace cw::agent
