#include "egress/volume/target_probe.h"

#include "base/clock.h"
#include "egress/volume/mounted_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace cw::volume {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

std::string whole(const fs::path& path) {
    std::ifstream in(path);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

Result<struct stat> stat_of(const std::string& path) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) {
        return fail_errno(errno == ENOENT ? Errc::not_found : Errc::io_error, "stat " + path,
                          errno);
    }
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
        return fail(Errc::target_unsafe, path + " is neither a file nor a block device");
    }
    return st;
}

std::string number_of(dev_t device) {
    return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

// The device's own number and those of its partitions.
std::vector<std::string> numbers_of(dev_t device) {
    std::vector<std::string> numbers{number_of(device)};
    std::error_code ignored;
    for (const auto& entry :
         fs::directory_iterator("/sys/dev/block/" + number_of(device), ignored)) {
        if (fs::exists(entry.path() / "partition", ignored)) {
            numbers.push_back(first_line(entry.path() / "dev"));
        }
    }
    return numbers;
}

// Swap space: `is_it` is asked about each file and device that is one.
Result<void> check_swap(const std::string& path, auto is_it) {
    std::istringstream swaps(whole("/proc/swaps"));
    for (std::string name; swaps >> name; swaps.ignore(1 << 12, '\n')) {
        struct stat st{};
        if (::stat(name.c_str(), &st) == 0 && is_it(st)) {
            return fail(Errc::target_unsafe, path + " is swap space");
        }
    }
    return {};
}

// A loop device takes no hold of what lies beneath it: `is_it` is asked about each of those.
Result<void> check_loops(const std::string& path, auto is_it) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/sys/block", ignored)) {
        const std::string backing = first_line(entry.path() / "loop" / "backing_file");
        struct stat st{};
        if (!backing.empty() && ::stat(backing.c_str(), &st) == 0 && is_it(st)) {
            return fail(Errc::target_unsafe,
                        path + " lies behind " + entry.path().filename().string());
        }
    }
    return {};
}

Result<void> check_device(const std::string& path, dev_t device) {
    const std::string mounts = whole("/proc/self/mountinfo");
    const std::vector<std::string> numbers = numbers_of(device);
    const auto is_it = [&](const struct stat& st) {
        return S_ISBLK(st.st_mode) &&
               std::ranges::find(numbers, number_of(st.st_rdev)) != numbers.end();
    };
    for (const std::string& number : numbers) {
        const fs::path node = "/sys/dev/block/" + number;
        if (mounted_in(mounts, number)) {
            return fail(Errc::target_unsafe, path + " (" + number + ") is mounted");
        }
        std::error_code ignored;
        const auto holders = fs::directory_iterator(node / "holders", ignored);
        if (!ignored && holders != fs::directory_iterator()) {
            return fail(Errc::target_unsafe,
                        path + " is held by " + holders->path().filename().string());
        }
    }
    CW_TRY(check_loops(path, is_it));
    return check_swap(path, is_it);
}

Result<void> check_file(const std::string& path, const struct stat& file, const TargetHold* ours) {
    const auto is_it = [&](const struct stat& st) {
        return st.st_dev == file.st_dev && st.st_ino == file.st_ino;
    };
    CW_TRY(check_loops(path, is_it));
    CW_TRY(check_swap(path, is_it));
    return ours != nullptr ? ours->check_others() : TargetHold::check(path);
}

// What a target is, and what its bytes lie on.
struct Storage {
    std::vector<std::string> own, beneath;
};

void add_beneath(dev_t device, int depth, Storage& storage);

void add_own(const struct stat& st, int depth, std::vector<std::string>& names, Storage& storage) {
    if (S_ISREG(st.st_mode)) {
        names.push_back("file " + std::to_string(st.st_dev) + " " + std::to_string(st.st_ino));
    } else if (S_ISBLK(st.st_mode)) {
        names.push_back("device " + number_of(st.st_rdev));
        add_beneath(st.st_rdev, depth - 1, storage);
    }
}

void add_device(const fs::path& node, int depth, Storage& storage) {
    unsigned int numbers[2] = {};
    if (std::sscanf(first_line(node / "dev").c_str(), "%u:%u", &numbers[0], &numbers[1]) == 2) {
        storage.beneath.push_back("device " + first_line(node / "dev"));
        add_beneath(makedev(numbers[0], numbers[1]), depth - 1, storage);
    }
}

// `depth` bounds what a loop over a loop over a mapper can ask for.
void add_beneath(dev_t device, int depth, Storage& storage) {
    std::error_code ignored;
    const fs::path node = fs::canonical("/sys/dev/block/" + number_of(device), ignored);
    if (depth <= 0 || ignored) {
        return;
    }
    if (fs::exists(node / "partition", ignored)) {
        add_device(node.parent_path(), depth, storage);
    }
    for (const auto& entry : fs::directory_iterator(node / "slaves", ignored)) {
        add_device(entry.path(), depth, storage);
    }
    struct stat st{};
    const std::string backing = first_line(node / "loop" / "backing_file");
    if (!backing.empty() && ::stat(backing.c_str(), &st) == 0) {
        add_own(st, depth, storage.own, storage);  // A loop device is its file.
    }
}

Storage storage_of(const std::string& path) {
    constexpr int depth_max = 8;
    Storage storage;
    struct stat st{};
    if (::stat(path.c_str(), &st) == 0) {
        add_own(st, depth_max, storage.own, storage);
    }
    return storage;
}

bool any_of(const std::vector<std::string>& names, const std::vector<std::string>& among) {
    return std::ranges::any_of(names, [&](const std::string& name) {
        return std::ranges::find(among, name) != among.end();
    });
}

// Of a file that is mounted itself.
std::optional<std::string> place_of_mount(const std::string& path, const struct stat& st) {
    std::error_code ignored;
    std::string place = fs::canonical(path, ignored).string();
    const bool mounted = S_ISREG(st.st_mode) && is_mounted_file(whole("/proc/self/mountinfo"),
                                                                number_of(st.st_dev), place);
    return mounted ? std::optional(std::move(place)) : std::nullopt;
}

class SystemProbe final : public TargetProbe {
public:
    Result<std::string> identity(const std::string& path) override {
        CW_TRY_ASSIGN(const struct stat st, stat_of(path));
        if (S_ISREG(st.st_mode)) {
            if (const auto place = place_of_mount(path, st)) {
                return "file mounted at " + *place;
            }
            return "file " + std::to_string(st.st_dev) + " " + std::to_string(st.st_ino);
        }
        const fs::path node = "/sys/dev/block/" + number_of(st.st_rdev);
        for (const char* name : {"device/wwid", "wwid", "dm/uuid", "device/serial", "serial"}) {
            if (const std::string id = first_line(node / name); !id.empty()) {
                return "device " + id;
            }
        }
        return "device " + number_of(st.st_rdev);  // Nothing better: the number of this boot.
    }

    Result<void> check_unused(const std::string& path, const TargetHold* ours) override {
        CW_TRY_ASSIGN(const struct stat st, stat_of(path));
        return S_ISREG(st.st_mode) ? check_file(path, st, ours) : check_device(path, st.st_rdev);
    }

    Result<std::unique_ptr<TargetHold>> hold(const std::string& path) override {
        CW_TRY_ASSIGN(const struct stat st, stat_of(path));
        return S_ISREG(st.st_mode) ? TargetHold::take(path)
                                   : Result<std::unique_ptr<TargetHold>>{nullptr};
    }

    Result<std::int64_t> written_ns(const std::string& path) override {
        CW_TRY_ASSIGN(const struct stat st, stat_of(path));
        if (place_of_mount(path, st)) {
            return 0;  // What shows it says that it was written just now, whenever it is asked.
        }
        return S_ISREG(st.st_mode) ? st.st_mtim.tv_sec * ns_per_s + st.st_mtim.tv_nsec : 0;
    }
};

}  // namespace

bool share_storage(const std::string& a, const std::string& b) {
    const Storage one = storage_of(a), other = storage_of(b);
    return any_of(one.own, other.own) || any_of(one.own, other.beneath) ||
           any_of(other.own, one.beneath);
}

bool mounted_in(std::string_view mountinfo, std::string_view major_minor) {
    // The third field of each line.
    while (!mountinfo.empty()) {
        const std::size_t end = mountinfo.find('\n');
        std::string_view line = mountinfo.substr(0, end);
        mountinfo.remove_prefix(end == std::string_view::npos ? mountinfo.size() : end + 1);
        for (int skip = 0; skip < 2; ++skip) {
            const std::size_t blank = line.find(' ');
            line.remove_prefix(blank == std::string_view::npos ? line.size() : blank + 1);
        }
        if (line.substr(0, line.find(' ')) == major_minor) {
            return true;
        }
    }
    return false;
}

std::unique_ptr<TargetProbe> make_system_probe() {
    return std::make_unique<SystemProbe>();
}

}  // namespace cw::volume
