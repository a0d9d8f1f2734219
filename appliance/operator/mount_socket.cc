#include "appliance/operator/mount_socket.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr const char* note_format =
    "causeway mount %" SCNu64 " %" SCNu64 " %" SCNu64 "\n";  // Device, number, birth.
constexpr std::size_t note_bytes_max = 128;

// A connection that is refused: the socket's server is gone. Whatever else happens, there is one.
bool nobody_listens(const std::string& path) {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return fd.valid() &&
           ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
           errno == ECONNREFUSED;
}

}  // namespace

MountSocket::Identity MountSocket::identity_of(const std::string& path) {
    struct statx status{};
    if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
                &status) != 0) {
        return {};
    }
    Identity out;
    out.device = ::makedev(status.stx_dev_major, status.stx_dev_minor);
    out.number = status.stx_ino;
    if ((status.stx_mask & STATX_BTIME) != 0) {  // Else a number may be given again.
        out.born_ns = static_cast<std::uint64_t>(status.stx_btime.tv_sec) * 1'000'000'000 +
                      status.stx_btime.tv_nsec;
    }
    out.is_socket = S_ISSOCK(status.stx_mode);
    return out;
}

Result<std::unique_ptr<MountSocket>> MountSocket::claim(const std::string& path) {
    CW_TRY_ASSIGN(LockFile lock, LockFile::take(path + ".mount-lock"));
    CW_TRY_ASSIGN(ScratchDirectory beside,
                  ScratchDirectory::make(std::filesystem::path(path).parent_path(), "mount"));
    std::unique_ptr<MountSocket> socket(new MountSocket(path, std::move(lock), std::move(beside)));
    CW_TRY_ASSIGN(const Identity left, socket->read_note());
    CW_TRY(socket->take_over(left));
    return socket;
}

// Errors: in_use: the file is somebody else's.
Result<MountSocket::Identity> MountSocket::read_note() {
    char text[note_bytes_max] = {};
    const ssize_t n = ::pread(lock_.fd(), text, sizeof text - 1, 0);
    Identity noted;
    noted.is_socket = true;
    if (n == 0) {  // Made just now, or by one who was killed before he listened.
        return noted;
    }
    if (n < 0 ||
        std::sscanf(text, note_format, &noted.device, &noted.number, &noted.born_ns) != 3) {
        lock_.leave();
        return fail(Errc::in_use, path_ + ".mount-lock is not a mount's");
    }
    return noted;
}

// Moved aside first: should somebody have put his own there meanwhile, it goes back.
Result<void> MountSocket::take_over(const Identity& left) {
    const Identity there = identity_of(path_);
    if (there == Identity{}) {
        return {};
    }
    if (there != left) {
        return fail(Errc::in_use, path_ +
                                      " exists, and no mount of this program has left it: "
                                      "choose another path, or remove it if nobody needs it");
    }
    if (!nobody_listens(path_)) {
        lock_.leave();  // With its note: he may be about to end.
        return fail(Errc::in_use, "somebody listens at " + path_ + "; who: fuser -v " + path_);
    }
    const std::string aside = directory() + "/left.sock";
    if (::rename(path_.c_str(), aside.c_str()) != 0) {
        lock_.leave();
        return fail_errno(Errc::io_error, "move " + path_, errno);
    }
    if (identity_of(aside) != left) {
        std::ignore = ::link(aside.c_str(), path_.c_str());
        return fail(Errc::in_use, path_ + " was replaced meanwhile");
    }
    return {};
}

Result<void> MountSocket::write_note() {
    char text[note_bytes_max];
    const int length = std::snprintf(text, sizeof text, note_format, published_.device,
                                     published_.number, published_.born_ns);
    if (::ftruncate(lock_.fd(), 0) != 0 || ::pwrite(lock_.fd(), text, length, 0) != length ||
        ::fdatasync(lock_.fd()) != 0) {
        return fail_errno(Errc::io_error, "write " + path_ + ".mount-lock", errno);
    }
    return {};
}

Result<void> MountSocket::publish() {
    const std::string made = directory() + "/nbd.sock";
    published_ = identity_of(made);
    CW_TRY(write_note());
    if (::link(made.c_str(), path_.c_str()) != 0) {
        return errno == EEXIST ? fail(Errc::in_use, path_ + " was made by somebody else meanwhile")
                               : fail_errno(Errc::io_error, "link " + path_, errno);
    }
    return {};
}

MountSocket::~MountSocket() {
    if (published_.is_socket && identity_of(path_) == published_) {
        ::unlink(path_.c_str());
    }
}

}  // namespace cw::appliance
