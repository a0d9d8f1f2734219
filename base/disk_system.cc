#include "base/disk_system.h"

#include "base/assert.h"
#include "base/ids.h"

#include <algorithm>
#include <cerrno>

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace cw {
namespace {

std::unexpected<Error> fail_system(const char* what, const std::string& path) {
    const int error = errno;
    const Errc code = error == ENOENT   ? Errc::not_found
                      : error == EEXIST ? Errc::file_exists
                      : error == EBUSY  ? Errc::target_unsafe
                      : error == ENOSPC ? Errc::disk_full
                      : error == EDQUOT ? Errc::disk_full
                                        : Errc::io_error;
    return fail_errno(code, std::string(what) + " " + path, error);
}

// 0: there is none.
mode_t kind_of(const std::string& path) noexcept {
    struct stat status{};
    return stat(path.c_str(), &status) == 0 ? status.st_mode & S_IFMT : 0;
}

int open_flags(const OpenOptions& options, mode_t kind) noexcept {
    const bool device = kind == S_IFBLK;
    int flags = O_CLOEXEC | (options.write ? O_RDWR : O_RDONLY);
    if (kind == S_IFIFO) {
        flags |= O_NONBLOCK;  // Or this thread waits until somebody opens its other end.
    }
    if (options.create && !device) {
        flags |= O_CREAT;
    }
    // On a device O_EXCL without O_CREAT refuses what is mounted or held.
    if (options.exclusive && (options.create || device)) {
        flags |= O_EXCL;
    }
    return flags | (options.direct ? O_DIRECT : 0);
}

}  // namespace

std::uint64_t SystemFile::size() const noexcept {
    struct stat status{};
    CW_ASSERT(fstat(fd_.get(), &status) == 0);
    if (!S_ISBLK(status.st_mode)) {
        return static_cast<std::uint64_t>(status.st_size);
    }
    std::uint64_t bytes = 0;
    return ioctl(fd_.get(), BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
}

std::string_view SystemFile::oddity() const noexcept {
    struct stat status{};
    CW_ASSERT(fstat(fd_.get(), &status) == 0);
    switch (status.st_mode & S_IFMT) {
        case S_IFREG:
        case S_IFBLK:
            return {};
        case S_IFDIR:
            return "a directory";
        case S_IFIFO:
            return "a pipe";
        default:
            return "a device without a size";
    }
}

Result<std::unique_ptr<File>> SystemDisk::open(const std::string& path, OpenOptions options) {
    const int flags = open_flags(options, kind_of(path));
    bool direct = options.direct;
    Fd fd(::open(path.c_str(), flags, static_cast<mode_t>(options.mode)));
    if (!fd.valid() && errno == EINVAL && direct) {
        // A file system without O_DIRECT. It may have created the file before it refused the flag.
        direct = false;
        const int created = options.exclusive && options.create ? O_EXCL : 0;
        fd = Fd(::open(path.c_str(), flags & ~(O_DIRECT | created), options.mode));
    }
    if (!fd.valid()) {
        return fail_system("open", path);
    }
    // The kernel opens a read-only device for writing, and fails each write.
    if (int read_only = 0; options.write && ioctl(fd.get(), BLKROGET, &read_only) == 0) {
        errno = EROFS;
        if (read_only != 0) {
            return fail_system("open", path);
        }
    }
    if (options.lock && flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return fail(Errc::in_use, path + " is locked; who: fuser -v " + path);
        }
        return fail_system("lock", path);
    }
    return std::make_unique<SystemFile>(std::move(fd), direct);
}

// Durable when it returns: what is synced within a new directory would go with it otherwise.
Result<void> SystemDisk::create_directories(const std::string& path) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        if (mkdir(part.c_str(), 0700) == 0) {
            const std::size_t slash = part.rfind('/');
            CW_TRY(sync_directory(slash == std::string::npos ? "."
                                  : slash == 0               ? "/"
                                                             : part.substr(0, slash)));
        } else if (errno != EEXIST) {
            return fail_system("create directory", part);
        }
        if (end == std::string::npos) {
            return {};
        }
    }
}

Result<void> SystemDisk::rename(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) {
        return fail_system("rename", from);
    }
    return {};
}

Result<void> SystemDisk::remove(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        return fail_system("remove", path);
    }
    return {};
}

Result<std::vector<std::string>> SystemDisk::list(const std::string& directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> open_directory(opendir(directory.c_str()), closedir);
    if (open_directory == nullptr) {
        return fail_system("list", directory);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(open_directory.get())) {
        const std::string_view name(entry->d_name);
        if (name != "." && name != "..") {
            names.emplace_back(name);
        }
    }
    if (errno != 0) {
        return fail_system("list", directory);
    }
    std::ranges::sort(names);  // The same order on every file system.
    return names;
}

Result<void> SystemDisk::sync_directory(const std::string& directory) {
    const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() || fsync(fd.get()) != 0) {
        return fail_system("sync directory", directory);
    }
    return {};
}

Result<bool> SystemDisk::exists(const std::string& path) {
    struct stat status{};
    if (lstat(path.c_str(), &status) == 0) {
        return true;
    }
    if (errno == ENOENT || errno == ENOTDIR) {
        return false;
    }
    return fail_system("look up", path);
}

Result<void> SystemDisk::resize(File& file, std::uint64_t bytes, bool allocate) {
    const int fd = static_cast<SystemFile&>(file).fd();
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        return fail_system("resize", "file");
    }
    if (allocate && bytes > 0) {
        errno = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
        if (errno != 0) {
            return fail_system("allocate", "file");
        }
    }
    return {};
}

Result<std::uint64_t> SystemDisk::free_bytes(const std::string& directory) {
    struct statvfs status{};
    if (statvfs(directory.c_str(), &status) != 0) {
        return fail_system("free space of", directory);
    }
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace cw
