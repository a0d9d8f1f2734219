#include "egress/volume/target_hold.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

namespace cw::volume {
namespace {

constexpr std::int64_t does_read = 100, does_write = 101, no_others_write = 201,
                       no_others_resize = 203;

}  // namespace

Result<std::unique_ptr<TargetHold>> TargetHold::open(const std::string& path) {
    // A pipe without a writer is no reason to wait.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail_errno(errno == ENOENT ? Errc::not_found : Errc::io_error, "open " + path,
                          errno);
    }
    return std::unique_ptr<TargetHold>(new TargetHold(fd, path));
}

Result<std::unique_ptr<TargetHold>> TargetHold::take(const std::string& path) {
    CW_TRY_ASSIGN(auto hold, open(path));
    // First the lock, then the look: of two that begin at once at most one goes on.
    for (const std::int64_t byte : {does_read, no_others_write, no_others_resize}) {
        CW_TRY(hold->lock(byte));
    }
    CW_TRY(hold->check_others());
    return hold;
}

Result<void> TargetHold::check(const std::string& path) {
    CW_TRY_ASSIGN(const auto looking, open(path));
    return looking->check_others();
}

TargetHold::~TargetHold() {
    ::close(fd_);
}

Result<void> TargetHold::begin_writing() {
    return lock(does_write);
}

Result<void> TargetHold::lock(std::int64_t byte) const {
    struct flock lock{};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    const bool taken = ::fcntl(fd_, F_OFD_SETLK, &lock) == 0;
    return taken || (errno != EAGAIN && errno != EACCES)
               ? Result<void>{}
               : fail(Errc::target_unsafe, path_ + " is locked by a program that uses it");
}

Result<void> TargetHold::check_others() const {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;  // From the start to the end, however long the file becomes.
    const int asked = ::fcntl(fd_, F_OFD_GETLK, &lock);
    return asked == 0 && lock.l_type != F_UNLCK
               ? fail(Errc::target_unsafe, path_ + " is locked by a program that uses it")
               : Result<void>{};
}

}  // namespace cw::volume
