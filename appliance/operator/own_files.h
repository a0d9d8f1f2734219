// Which files at the places of a failover are what an unfinished one of the same machine has left,
// so that it may replace them.
// Thread-safety: free functions.
#pragma once

#include "appliance/operator/jobs.h"

#include <map>
#include <string>
#include <vector>

namespace cw::appliance {

// Which file lies at `path`, and that nobody has changed it in any way since: device, inode and
// change time. Empty: no regular file does.
std::string mark_of(const std::string& path);
// The same of a file that is about to get its name, which changes that time: by the time of its
// content. It stands for the moment between the two only: mark_of() takes its place.
std::string mark_before_name(const std::string& path);

// Paths, and the mark_of() by which each file is known to be untouched.
using MarkedFiles = std::map<std::string, std::string>;

// Of `paths`, those files that failovers of `record` (as_it_stands()) have noted as whole
// (JobRun::note_whole) before they failed or were killed, and that nobody has touched since.
// `plan_run` (name_of_tries()): also those that ended well, of this run of a plan; empty: of none.
MarkedFiles own_files(const MachineRecord& record, const std::string& plan_run,
                      const std::vector<std::string>& paths);

// What the detail of a failover says of the run that it is a step of.
std::string said_of_plan_run(const std::string& plan_run);

}  // namespace cw::appliance
