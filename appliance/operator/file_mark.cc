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

void put_file_mark(ByteAppender& out, const FileMark& mark) {
    out.u64(mark.device);
    out.u64(mark.inode);
    out.u64(static_cast<std::uint64_t>(mark.time_ns));
    out.u8(mark.named ? 1 : 0);
}

Result<FileMark> take_file_mark(ByteReader& in) {
    FileMark mark;
    CW_TRY_ASSIGN(mark.device, in.u64());
    CW_TRY_ASSIGN(mark.inode, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t time, in.u64());
    mark.time_ns = static_cast<std::int64_t>(time);
    CW_TRY_ASSIGN(const std::uint8_t named, in.u8());
    if (named > 1) {
        return fail(Errc::format_unsupported, "a file's mark of kind " + std::to_string(named));
    }
    mark.named = named == 1;
    return mark;
}

}  // namespace cw::appliance
