#include "appliance/operator/own_files.h"

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

template <typename Counts>
std::set<std::string> noted_by(const MachineRecord& record, const std::vector<std::string>& paths,
                               const Counts& counts) {
    std::set<std::string> marks;
    for (const Job& job : record.jobs) {
        const auto whole = job.detail.find(whole_files);
        if (job.verb == Verb::failover && whole != std::string::npos && counts(job)) {
            std::istringstream words(job.detail.substr(whole + whole_files.size()));
            for (std::string word; words >> word;) {
                marks.insert(word);
            }
        }
    }
    std::set<std::string> noted;
    for (const std::string& path : paths) {
        if (marks.contains(mark_of(path)) || marks.contains(mark_before_name(path))) {
            noted.insert(path);
        }
    }
    return noted;
}

}  // namespace

std::string mark_of(const std::string& path) {
    return mark(path, "", &stat::st_ctim);
}

std::string mark_before_name(const std::string& path) {
    return mark(path, "m", &stat::st_mtim);
}

std::set<std::string> left_unfinished(const MachineRecord& record,
                                      const std::vector<std::string>& paths) {
    return noted_by(record, paths, [](const Job& job) {
        return job.state == JobState::interrupted || job.state == JobState::failed;
    });
}

std::set<std::string> brought_back_since(const MachineRecord& record, WallMicros since,
                                         const std::vector<std::string>& paths) {
    return noted_by(record, paths, [since](const Job& job) {
        return job.state != JobState::running && raw(job.started) >= raw(since);
    });
}

}  // namespace cw::appliance
