// Which files at the places of a failover are what an unfinished one of the same machine has left,
// so that it may replace them.
// Thread-safety: free functions.
#pragma once

#include "appliance/operator/jobs.h"

#include <set>
#include <string>
#include <vector>

namespace cw::appliance {

// Which file lies at `path`, and that nobody has changed it in any way since: device, inode and
// change time. Empty: no regular file does.
std::string mark_of(const std::string& path);
// The same of a file that is about to get its name, which changes that time: by the time of its
// content. It stands for the moment between the two only: mark_of() takes its place.
std::string mark_before_name(const std::string& path);

// Of `paths`, those files that failovers of `record` (as_it_stands()) have noted as whole
// (JobRun::note_whole) before they failed or were killed, and that nobody has touched since.
std::set<std::string> left_unfinished(const MachineRecord& record,
                                      const std::vector<std::string>& paths);
// The same of every failover that began at `since` or later and does not run, also of those that
// ended well.
std::set<std::string> brought_back_since(const MachineRecord& record, WallMicros since,
                                         const std::vector<std::string>& paths);

}  // namespace cw::appliance
