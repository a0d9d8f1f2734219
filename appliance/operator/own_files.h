// Which files at the places of a failover are what an unfinished one of the same machine has left,
// so that it may replace them.
// Thread-safety: free functions.
#pragma once

#include "appliance/operator/jobs.h"

#include <map>
#include <string>
#include <vector>

namespace cw::appliance {

// Paths, and the mark_of() by which each file is known to be untouched.
using MarkedFiles = std::map<std::string, FileMark>;

// Of `paths`, those files that failovers of `record` (as_it_stands()) have noted as whole
// (JobRun::note_whole) before they failed or were killed, and that nobody has touched since.
// `plan_run` (name_of_tries()): also those that ended well, of this run of a plan; empty: of none.
MarkedFiles own_files(const MachineRecord& record, const std::string& plan_run,
                      const std::vector<std::string>& paths);

}  // namespace cw::appliance
