// How a line gets into the ledger.
#include "base/net.h"
#include "tests/sim/ledger.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::sim {
namespace {

Result<Fd> open_ledger(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    if (!file.valid()) {
        return fail_errno(Errc::io_error, "the ledger " + path + " cannot be written", errno);
    }
    return file;
}

// Whoever wrote last was killed before its line was whole.
Result<bool> ends_within_a_line(int fd, const std::string& path) {
    struct stat status{};
    char last = '\n';
    if (::fstat(fd, &status) != 0 ||
        (status.st_size > 0 && ::pread(fd, &last, 1, status.st_size - 1) != 1)) {
        return fail_errno(Errc::io_error, "the ledger " + path + " cannot be read", errno);
    }
    return last != '\n';
}

}  // namespace

Result<void> probe_ledger(const std::string& path) {
    CW_TRY(open_ledger(path));
    return {};
}

Result<void> append_to_ledger(const std::string& path, const std::string& line) {
    CW_TRY_ASSIGN(const Fd file, open_ledger(path));
    // A night and a soak may end at once; tests/soak/ledger.py takes the same lock.
    if (::flock(file.get(), LOCK_EX) != 0) {
        return fail_errno(Errc::io_error, "the ledger " + path + " cannot be held", errno);
    }
    CW_TRY_ASSIGN(const bool torn, ends_within_a_line(file.get(), path));
    const std::string text = (torn ? "\n" : "") + line + "\n";
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t wrote = ::write(file.get(), text.data() + done, text.size() - done);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return fail_errno(Errc::io_error, "the ledger " + path + " cannot be written", errno);
        }
        done += static_cast<std::size_t>(wrote);
    }
    if (::fsync(file.get()) != 0) {
        return fail_errno(Errc::io_error, "the ledger " + path + " cannot be synced", errno);
    }
    return {};
}

}  // namespace cw::sim
