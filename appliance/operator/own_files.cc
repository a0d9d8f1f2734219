#include "appliance/operator/own_files.h"

#include <algorithm>
#include <sstream>

#include <sys/stat.h>

namespace cw::appliance {

std::optional<FileTouch> last_touch(const std::string& path) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) {
        return std::nullopt;
    }
    return FileTouch{.at = WallMicros{st.st_ctim.tv_sec * (ns_per_s / ns_per_us) +
                                      st.st_ctim.tv_nsec / ns_per_us},
                     .device = S_ISBLK(st.st_mode)};
}

std::string mark_of(const std::string& path) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) {
        return {};
    }
    return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) + ":" +
           std::to_string(st.st_ctim.tv_sec * ns_per_s + st.st_ctim.tv_nsec);
}

std::set<std::string> left_unfinished(const MachineRecord& record,
                                      const std::vector<std::string>& paths) {
    std::set<std::string> marks;
    for (const Job& job : record.jobs) {
        const auto whole = job.detail.find(whole_files);
        if (job.verb == Verb::failover && whole != std::string::npos &&
            (job.state == JobState::interrupted || job.state == JobState::failed)) {
            std::istringstream words(job.detail.substr(whole + whole_files.size()));
            for (std::string mark; words >> mark;) {
                marks.insert(mark);
            }
        }
    }
    std::set<std::string> left;
    for (const std::string& path : paths) {
        if (marks.contains(mark_of(path))) {
            left.insert(path);
        }
    }
    return left;
}

}  // namespace cw::appliance
