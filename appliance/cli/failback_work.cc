#include "appliance/cli/failback_work.h"

#include "egress/volume/volume_state.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr const char* beside = ".failback";

// A work directory in which something was left, and whose it is.
struct Leftover {
    std::string directory, path;
    std::string disk_word;  // "DISK=", as the target was given; or empty.
    volume::VolumeState state;
};

// What the word may mean: all of it is a path, or what follows one of its "=". Which of them is
// known by what was left in a work directory.
std::vector<std::string> paths_in(const std::string& word) {
    std::vector<std::string> out{word};
    for (std::size_t at = word.find('='); at != std::string::npos; at = word.find('=', at + 1)) {
        out.push_back(word.substr(at + 1));
    }
    std::erase(out, "");
    return out;
}

std::vector<std::string> directories_for(const FailbackWork& work, const std::string& path) {
    if (work.directory.empty()) {
        return {path + beside};
    }
    std::vector<std::string> out{work.directory};
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(work.directory, ignored)) {
        if (entry.is_directory(ignored) && parse_id<DiskId>(entry.path().filename().string())) {
            out.push_back(entry.path().string());
        }
    }
    return out;
}

Result<std::optional<Leftover>> look_at(recovery::FailbackContext context,
                                        const std::string& directory, const std::string& path) {
    const std::string file = directory + "/state";
    CW_TRY_ASSIGN(const bool there, context.disk.exists(file));
    if (!there) {
        return std::nullopt;
    }
    CW_TRY_ASSIGN(volume::VolumeState state, volume::read_volume_state(context.disk, file));
    if (state.target_path != path &&
        context.probe.identity(path).value_or("") != state.target_identity) {
        return std::nullopt;
    }
    return Leftover{directory, path, "", std::move(state)};
}

Result<std::vector<Leftover>> leftovers_of(const FailbackWork& work,
                                           recovery::FailbackContext context, WorkLocks& locks) {
    std::vector<Leftover> out;
    for (const std::string& word : work.targets) {
        for (const std::string& path : paths_in(word)) {
            for (const std::string& directory : directories_for(work, path)) {
                CW_TRY_ASSIGN(auto found, look_at(context, directory, path));
                if (!found) {
                    continue;
                }
                CW_TRY(locks.take(work, directory));
                CW_TRY_ASSIGN(found, look_at(context, directory, path));  // Now nobody changes it.
                if (found) {
                    found->disk_word = word.substr(0, word.size() - path.size());
                    out.push_back(std::move(*found));
                }
            }
        }
    }
    return out;
}

// Made for disks that the run never came to.
Result<void> remove_empty_ones(const FailbackWork& work, WorkLocks& locks) {
    std::error_code ignored;
    for (const std::string& word : work.targets) {
        for (const std::string& path : paths_in(word)) {
            for (const std::string& directory : directories_for(work, path)) {
                if (std::filesystem::is_directory(directory, ignored)) {
                    CW_TRY(locks.take(work, directory));
                    remove_if_empty(work, directory);
                }
            }
        }
    }
    return {};
}

std::string identity_for(const FailbackWork& work, const Leftover& leftover) {
    for (const std::string& identity : work.identities) {
        if (!leftover.disk_word.empty() && identity.starts_with(leftover.disk_word)) {
            return identity.substr(leftover.disk_word.size());
        }
    }
    return work.targets.size() == 1 && work.identities.size() == 1 ? work.identities.front()
                                                                   : std::string();
}

}  // namespace

WorkLocks::~WorkLocks() {
    for (const auto& [directory, fd] : held_) {
        ::close(fd);
    }
}

bool WorkLocks::has(const FailbackWork& work, const std::string& directory) const {
    return held_.contains(work.directory.empty() ? directory : work.directory);
}

Result<void> WorkLocks::take(const FailbackWork& work, const std::string& work_directory) {
    const std::string& directory = work.directory.empty() ? work_directory : work.directory;
    if (held_.contains(directory)) {
        return {};
    }
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(Errc::io_error, "open " + directory, errno);
    }
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ::close(fd);
        return fail(Errc::target_unsafe, "another failback works in " + directory);
    }
    held_.emplace(directory, fd);
    return {};
}

Result<std::string> work_directory_of(const FailbackWork& work, const std::string& path,
                                      const DiskId& disk, bool several) {
    if (!work.directory.empty()) {
        return several ? work.directory + "/" + to_string(disk) : work.directory;
    }
    std::error_code ignored;
    if (std::filesystem::is_block_file(path, ignored)) {
        return fail(Errc::usage, "--work-dir is needed for a device: a directory on another one");
    }
    return path + beside;
}

void remove_if_empty(const FailbackWork& work, const std::string& directory) {
    std::error_code ignored;
    std::filesystem::remove(directory + "/readers", ignored);  // Of egress/volume.
    std::filesystem::remove(directory, ignored);
    if (!work.directory.empty()) {
        std::filesystem::remove(work.directory, ignored);
    }
}

Result<std::vector<ResumedDisk>> resume_switches(const FailbackWork& work,
                                                 recovery::FailbackContext context,
                                                 WorkLocks& locks) {
    CW_TRY_ASSIGN(const auto leftovers, leftovers_of(work, context, locks));
    std::vector<ResumedDisk> out;
    for (const Leftover& left : leftovers) {
        if (left.state.phase != volume::Phase::switching) {
            continue;
        }
        CW_TRY_ASSIGN(auto report, recovery::resume_failback(
                                       context, {.path = left.path,
                                                 .work_directory = left.directory,
                                                 .expected_identity = identity_for(work, left)}));
        out.push_back({left.path, left.directory, std::move(report)});
    }
    return out;
}

Result<std::vector<std::string>> drop_collected(const FailbackWork& work,
                                                recovery::FailbackContext context,
                                                WorkLocks& locks) {
    CW_TRY_ASSIGN(const auto leftovers, leftovers_of(work, context, locks));
    std::vector<std::string> dropped, switching;
    for (const Leftover& left : leftovers) {
        if (left.state.phase == volume::Phase::switching) {
            switching.push_back(left.path);
            continue;
        }
        CW_TRY_ASSIGN(const bool there, recovery::cancel_failback(context.disk, left.directory));
        if (there) {
            dropped.push_back(left.path);
        }
        remove_if_empty(work, left.directory);
    }
    CW_TRY(remove_empty_ones(work, locks));
    if (!switching.empty()) {
        std::string text;
        for (const std::string& path : switching) {
            text += (text.empty() ? "" : ", ") + path;
        }
        return fail(Errc::target_switching,
                    text +
                        ": its switch had begun: run the same failback without --cancel, which "
                        "completes it");
    }
    return dropped;
}

}  // namespace cw::appliance
