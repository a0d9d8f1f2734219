// QemuTracker: the bitmaps inside QEMU that record what the guest writes while nobody listens.
//
// From begin() on there is always one recording bitmap per disk, and what it recorded is given up
// only after the caller has it elsewhere, so that no kill of the agent at any instruction leaves a
// write that nobody knows of. Names carry the token of the agent's state: bitmaps of a lost state
// say nothing to its successor and are removed. Thread-safety: none.
#pragma once

#include "agent/qemu/qemu_machine.h"

#include <vector>

namespace cw::agent {

class QemuTracker {
public:
    struct Disk {
        QemuDisk vm;
        std::string token;
    };
    QemuTracker(QemuMachine& machine, std::vector<Disk> disks);

    // A bitmap of ours is there and may be trusted: since the agent's last run nothing was written
    // that it does not name.
    static bool continuous(const QemuDisk& vm, const std::string& token);

    // New bitmaps for all disks at one moment. What older ones recorded, by slot; they are kept
    // until settled().
    Result<std::vector<BlockSet>> begin();
    // The caller has what begin() or cut() handed over: the older bitmaps go.
    Result<void> settled();
    // A new bitmap beside the recording one, and the one before that goes: the caller has all
    // writes that completed before the last rotate().
    Result<void> rotate();

    // For an epoch: adds to `transaction` that recording goes on in new bitmaps and that the
    // present ones stand still. Call cut_done() when it has run.
    void cut(QemuTransaction& transaction);
    void cut_done();
    // The bitmap that stands still since cut_done().
    [[nodiscard]] const std::string& still(std::size_t slot) const {
        return disks_.at(slot).older.front();
    }
    // The one that records now.
    [[nodiscard]] const std::string& recording(std::size_t slot) const {
        return disks_.at(slot).current;
    }
    // The epoch failed: what it should have carried is left to the next one.
    Result<void> give_back();

private:
    struct Tracked {
        QemuDisk vm;
        std::string prefix, current, upcoming;
        std::vector<std::string> older;
        std::uint64_t number = 0;
    };
    QemuMachine& machine_;
    std::vector<Tracked> disks_;
};

}  // namespace cw::agent
