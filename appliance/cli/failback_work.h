// The work directories of a failback: where what differs waits for the switch of each old disk, and
// what an interrupted one has left there.
//
// All of it is known without the vault: an interrupted switch is completed before anything else.
#pragma once

#include "base/error.h"
#include "egress/volume/target_probe.h"
#include "recovery/failback.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cw::appliance {

struct FailbackWork {
    std::vector<std::string> targets;     // "PATH" or "DISK=PATH", as somebody gave them.
    std::vector<std::string> identities;  // In the same way.
    std::string directory;                // --work-dir; empty: TARGET.failback for each.
};

// One failback per work directory; the kernel gives the locks back however the process ends.
class WorkLocks {
public:
    WorkLocks() = default;
    ~WorkLocks();
    WorkLocks(const WorkLocks&) = delete;
    WorkLocks& operator=(const WorkLocks&) = delete;
    // Of one of `work`'s directories; --work-dir is locked for all in it. Twice is once.
    // Errors: target_unsafe (another process has it), io_error.
    Result<void> take(const FailbackWork& work, const std::string& directory);
    [[nodiscard]] bool has(const FailbackWork& work, const std::string& directory) const;

private:
    std::map<std::string, int> held_;
};

// Where the differences of one disk wait; `several`: --work-dir has one for each.
// Errors: usage (a device needs --work-dir).
Result<std::string> work_directory_of(const FailbackWork& work, const std::string& path,
                                      const DiskId& disk, bool several);
// Removes it, and --work-dir around it, if nothing is left in them.
void remove_if_empty(const FailbackWork& work, const std::string& directory);

struct ResumedDisk {
    std::string path, directory;  // The directory is left to the caller, with its lock.
    recovery::FailbackReport report;
};
// Completes every switch of these targets that was interrupted. Errors: those of WorkLocks::take()
// and of recovery::resume_failback().
Result<std::vector<ResumedDisk>> resume_switches(const FailbackWork& work,
                                                 recovery::FailbackContext context,
                                                 WorkLocks& locks);
// Drops what interrupted failbacks of these targets have collected. The result: of which targets.
// Errors: target_switching (after the others were dropped): its switch has to be completed first.
Result<std::vector<std::string>> drop_collected(const FailbackWork& work,
                                                recovery::FailbackContext context,
                                                WorkLocks& locks);

}  // namespace cw::appliance
