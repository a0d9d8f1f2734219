#include "base/given_file.h"

#include "base/net.h"

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw {
namespace {

constexpr int patience_ms = 60'000;

// A pipe that nobody has opened for writing yet would keep open(2) waiting, for ever.
constexpr int open_flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

// Bytes that came; 0: the end.
Result<std::size_t> next_part(const Fd& file, const std::string& path, MutableBytes out) {
    while (true) {
        pollfd wanted{.fd = file.get(), .events = POLLIN, .revents = 0};
        const int ready = ::poll(&wanted, 1, patience_ms);
        if (ready == 0) {
            return fail(Errc::peer_slow, "nothing came through " + path + " for a minute");
        }
        const ssize_t got = ready > 0 ? ::read(file.get(), out.data(), out.size()) : -1;
        if (got >= 0) {
            return static_cast<std::size_t>(got);
        }
        if (errno != EINTR && errno != EAGAIN) {
            return fail_errno(Errc::io_error, "read " + path, errno);
        }
    }
}

Result<ByteVector> read_stream(const std::string& path, std::size_t max) {
    const Fd file(::open(path.c_str(), open_flags));
    if (!file.valid()) {
        return fail_errno(Errc::io_error, "open " + path, errno);
    }
    ByteVector bytes(max + 1);  // At once: a secret leaves no copy behind where it has grown.
    std::size_t got = 0;
    while (got < bytes.size()) {
        CW_TRY_ASSIGN(const std::size_t part,
                      next_part(file, path, MutableBytes(bytes).subspan(got)));
        if (part == 0) {
            bytes.resize(got);
            return bytes;
        }
        got += part;
    }
    return std::unexpected(
        Error{Errc::io_error,
              path + " has more than the " + std::to_string(max) + " bytes that are allowed",
              "name the right file, or put it there"});
}

}  // namespace

Result<ByteVector> read_given_file(Disk& disk, const std::string& path, std::size_t max) {
    struct stat status{};
    const bool streams =
        ::stat(path.c_str(), &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode));
    return streams ? read_stream(path, max) : read_file(disk, path, max);
}

}  // namespace cw
