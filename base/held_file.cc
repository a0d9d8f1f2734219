#include "base/held_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw {

bool leads_to(const std::string& path, int fd) {
    struct stat opened{}, named{};
    return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

namespace {

// Invalid: it was replaced while it was opened.
Result<Fd> try_hold(const std::string& path, int flags) {
    Fd held(::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!held.valid()) {
        return fail_errno(errno == ENOENT ? Errc::not_found : Errc::io_error, "open " + path,
                          errno);
    }
    if (::flock(held.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? fail(Errc::in_use, path + " is locked; who: fuser -v " + path)
                                    : fail_errno(Errc::io_error, "lock " + path, errno);
    }
    return leads_to(path, held.get()) ? std::move(held) : Fd{};
}

}  // namespace

Result<Fd> hold_file(const std::string& path, int flags) {
    CW_TRY_ASSIGN(Fd held, try_hold(path, flags));
    if (!held.valid()) {
        return fail(Errc::in_use, path + " was replaced while it was opened");
    }
    return held;
}

Result<LockFile> LockFile::take(const std::string& path) {
    constexpr int tries_max = 10;  // Its last holder may remove it before it is held.
    for (int i = 0; i < tries_max; ++i) {
        CW_TRY_ASSIGN(Fd held, try_hold(path, O_RDWR | O_CREAT));
        if (held.valid()) {
            return LockFile(path, std::move(held));
        }
    }
    return fail(Errc::in_use, path + " was replaced again and again");
}

LockFile::~LockFile() {
    if (held_.valid() && leads_to(path_, held_.get())) {
        ::unlink(path_.c_str());  // Still held: nobody can have taken it for left over.
    }
}

}  // namespace cw
