#include "appliance/operator/own_files.h"

#include <set>
#include <sstream>

#include <sys/stat.h>

namespace cw::appliance {

namespace {

std::string mark(const std::string& path, const char* kind, timespec stat::* time) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) {
        return {};
    }
    return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) + ":" + kind +
           std::to_string((st.*time).tv_sec * ns_per_s + (st.*time).tv_nsec);
}

}  // namespace

std::string mark_of(const std::string& path) {
    return mark(path, "", &stat::st_ctim);
}

std::string mark_before_name(const std::string& path) {
    return mark(path, "m", &stat::st_mtim);
}

std::string said_of_plan_run(const std::string& plan_run) {
    return ", plan run " + plan_run;
}

MarkedFiles own_files(const MachineRecord& record, const std::string& plan_run,
                      const std::vector<std::string>& paths) {
    std::set<std::string> marks;
    for (const Job& job : record.jobs) {
        const auto whole = job.detail.find(whole_files);
        if (job.verb != Verb::failover || whole == std::string::npos) {
            continue;
        }
        const bool unfinished = job.state == JobState::interrupted || job.state == JobState::failed;
        const bool of_run = !plan_run.empty() && job.state == JobState::succeeded &&
                            job.detail.substr(0, whole).ends_with(said_of_plan_run(plan_run));
        if (unfinished || of_run) {
            std::istringstream words(job.detail.substr(whole + whole_files.size()));
            for (std::string word; words >> word;) {
                marks.insert(word);
            }
        }
    }
    MarkedFiles own;
    for (const std::string& path : paths) {
        const std::string now = mark_of(path);
        if (!now.empty() && (marks.contains(now) || marks.contains(mark_before_name(path)))) {
            own.emplace(path, now);
        }
    }
    return own;
}

}  // namespace cw::appliance
