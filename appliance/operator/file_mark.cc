#include "appliance/operator/file_mark.h"

#include "base/clock.h"

#include <sys/stat.h>

namespace cw::appliance {
namespace {

std::optional<FileMark> mark(const std::string& path, bool named) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) {
        return std::nullopt;
    }
    const timespec& time = named ? st.st_ctim : st.st_mtim;
    return FileMark{.device = st.st_dev,
                    .inode = st.st_ino,
                    .time_ns = time.tv_sec * ns_per_s + time.tv_nsec,
                    .named = named};
}

}  // namespace

std::optional<FileMark> mark_of(const std::string& path) {
    return mark(path, true);
}

std::optional<FileMark> mark_before_name(const std::string& path) {
    return mark(path, false);
}

}  // namespace cw::appliance
