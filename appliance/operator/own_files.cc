#include "appliance/operator/own_files.h"

#include <set>

namespace cw::appliance {

MarkedFiles own_files(const MachineRecord& record, const std::string& plan_run,
                      const std::vector<std::string>& paths) {
    std::set<FileMark> marks;
    for (const Job& job : record.jobs) {
        const bool unfinished = job.state == JobState::interrupted || job.state == JobState::failed;
        const bool of_run =
            !plan_run.empty() && job.state == JobState::succeeded && job.plan_run == plan_run;
        if (job.verb == Verb::failover && (unfinished || of_run)) {
            marks.insert(job.whole.begin(), job.whole.end());
        }
    }
    MarkedFiles own;
    for (const std::string& path : paths) {
        const auto now = mark_of(path), unnamed = mark_before_name(path);
        if (now && unnamed && (marks.contains(*now) || marks.contains(*unnamed))) {
            own.emplace(path, *now);
        }
    }
    return own;
}

}  // namespace cw::appliance
