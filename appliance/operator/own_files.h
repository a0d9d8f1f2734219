// Which files at the places of a failover are what an unfinished one of the same machine has left,
// so that it may replace them.
// Thread-safety: free functions.
#pragma once

#include "appliance/operator/jobs.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace cw::appliance {

// How long after its last sign of life one that was killed may have lived.
inline constexpr std::int64_t last_words_us = (job_note_pause_ns + 60 * ns_per_s) / ns_per_us;

struct FileTouch {
    WallMicros at{};  // Changed in any way, renamed too.
    bool device = false;
};
// nullopt: there is nothing.
std::optional<FileTouch> last_touch(const std::string& path);

// Which file lies at `path`, and that nobody has changed it in any way since: device, inode and
// change time. Empty: no regular file does.
std::string mark_of(const std::string& path);

// Of `paths`, those files that failovers of `record` (as_it_stands()) have noted as whole
// (JobRun::note_whole) before they failed or were killed, and that nobody has touched since.
std::set<std::string> left_unfinished(const MachineRecord& record,
                                      const std::vector<std::string>& paths);

}  // namespace cw::appliance
