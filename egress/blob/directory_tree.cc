#include "egress/blob/directory_tree.h"

#include "base/ids.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

namespace cw::blob {
namespace {

constexpr int lock_attempts_max = 4000;  // 20 s.
constexpr long lock_pause_ns = 5 * ns_per_ms;
constexpr std::string_view temporary_directory = ".causeway/tmp", lock_directory = ".causeway/lock";
constexpr std::size_t small_bytes_max = 64 * kib;
constexpr std::size_t parts_per_call = 512;  // Well below IOV_MAX (1024).

std::unexpected<Error> fail_call(std::string_view what, int error) {
    switch (error) {
        case ENOENT:
        case ENOTDIR:
            return fail_errno(Errc::blob_not_found, what, error);
        case EACCES:
        case EROFS:
            return fail_errno(Errc::blob_denied, what, error);
        case EPERM:
            return fail_errno(Errc::blob_immutable, what, error);
        case ENAMETOOLONG:
        case EISDIR:
        case ELOOP:
            return fail_errno(Errc::blob_rejected, what, error);
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return fail_errno(Errc::vault_full, what, error);
        case ENFILE:
        case EMFILE:
            return fail_errno(Errc::blob_unavailable, what, error);
        default:
            return fail_errno(Errc::io_error, what, error);
    }
}

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

template <typename Call>
auto uninterrupted(Call call) {
    for (;;) {
        const auto result = call();
        if (result >= 0 || errno != EINTR) {
            return result;
        }
    }
}

Result<void> write_all(int fd, const std::vector<Bytes>& parts) {
    std::vector<iovec> todo;
    todo.reserve(parts.size());
    for (const Bytes part : parts) {
        if (!part.empty()) {
            todo.push_back({const_cast<std::byte*>(part.data()), part.size()});
        }
    }
    std::size_t at = 0;
    while (at < todo.size()) {
        const int count = static_cast<int>(std::min(parts_per_call, todo.size() - at));
        const ssize_t n = uninterrupted([&] { return ::writev(fd, &todo[at], count); });
        if (n <= 0) {
            return fail_call("write", n == 0 ? EIO : errno);
        }
        std::size_t done = static_cast<std::size_t>(n);
        while (at < todo.size() && done >= todo[at].iov_len) {
            done -= todo[at++].iov_len;
        }
        if (done > 0) {
            todo[at].iov_base = static_cast<std::byte*>(todo[at].iov_base) + done;
            todo[at].iov_len -= done;
        }
    }
    return {};
}

Result<void> set_mtime(int fd, std::int64_t mtime_ns) {
    constexpr std::int64_t ns = 1'000'000'000;
    const std::array<timespec, 2> times{timespec{0, UTIME_OMIT},
                                        timespec{mtime_ns / ns, mtime_ns % ns}};
    if (::futimens(fd, times.data()) != 0) {
        return fail_call("set time", errno);
    }
    if (::fsync(fd) != 0) {  // Never repeated: after a failure the pages count as clean.
        return fail_call("fsync", errno);
    }
    return {};
}

}  // namespace

Result<DirectoryTree> DirectoryTree::open(const std::string& path, bool create) {
    if (create) {
        std::error_code error;
        std::filesystem::create_directories(path, error);
        if (error) {
            return fail_call("create " + path, error.value());
        }
    }
    Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root.valid()) {
        return fail_errno(errno == EACCES ? Errc::blob_denied : Errc::vault_missing, path, errno);
    }
    return DirectoryTree(std::move(root), path);
}

Result<Fd> DirectoryTree::open_file(const std::string& path) const {
    Fd fd(::openat(root_.get(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) {
        return fail_call(path, errno);
    }
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) {
        return fail_call(path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(Errc::blob_not_found, path + " is not a file");
    }
    return fd;
}

Result<struct stat> DirectoryTree::status(const std::string& path) const {
    struct stat status{};
    if (::fstatat(root_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return fail_call(path, errno);
    }
    return status;
}

Result<ByteVector> DirectoryTree::read_small(const std::string& path) const {
    CW_TRY_ASSIGN(const Fd fd, open_file(path));
    ByteVector bytes(small_bytes_max);
    std::size_t have = 0;
    while (have < bytes.size()) {
        const ssize_t n =
            uninterrupted([&] { return ::read(fd.get(), &bytes[have], bytes.size() - have); });
        if (n < 0) {
            return fail_call(path, errno);
        }
        if (n == 0) {
            bytes.resize(have);
            return bytes;
        }
        have += static_cast<std::size_t>(n);
    }
    return fail(Errc::object_corrupt, path + " is too large");
}

Result<std::vector<std::string>> DirectoryTree::list(const std::string& path) const {
    const int fd = ::openat(root_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return std::vector<std::string>{};
        }
        return fail_call(path, errno);
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd), &::closedir);
    if (!directory) {
        ::close(fd);
        return fail(Errc::io_error, path);
    }
    std::vector<std::string> names;
    for (errno = 0; const dirent* entry = ::readdir(directory.get()); errno = 0) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") {
            continue;
        }
        bool is_directory = entry->d_type == DT_DIR;
        if (entry->d_type == DT_UNKNOWN) {
            const auto found = status(path + "/" + name);
            is_directory = found && S_ISDIR(found->st_mode);
        }
        names.push_back(is_directory ? name + "/" : name);
    }
    if (errno != 0) {
        return fail_call(path, errno);
    }
    std::ranges::sort(names);
    return names;
}

Result<void> DirectoryTree::make_directories(const std::string& path) const {
    for (std::size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
        const std::string part = path.substr(0, slash);
        if (::mkdirat(root_.get(), part.c_str(), 0700) == 0) {
            CW_TRY(sync_parent(part));
        } else if (errno != EEXIST) {
            return errno == ENOTDIR ? fail(Errc::blob_rejected, part + " is an object")
                                    : std::unexpected(named(fail_call(part, errno).error()));
        }
        if (slash == std::string::npos) {
            return {};
        }
    }
}

Result<void> DirectoryTree::make_parents(const std::string& path) const {
    return make_directories(parent_of(path));
}

Result<std::string> DirectoryTree::write_temporary(const std::string& unique,
                                                   const std::vector<Bytes>& parts,
                                                   std::int64_t mtime_ns) const {
    std::string path = std::string(temporary_directory) + "/" + unique;
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    CW_TRY_ASSIGN(const Fd fd, create_file(path, flags));
    Result<void> done = write_all(fd.get(), parts);
    if (done) {
        done = set_mtime(fd.get(), mtime_ns);
    }
    if (!done) {
        (void)::unlinkat(root_.get(), path.c_str(), 0);
        return std::unexpected(named(std::move(done).error()));
    }
    return path;
}

// The service directories appear with the first file in them, so that reading leaves no trace.
Result<Fd> DirectoryTree::create_file(const std::string& path, int flags) const {
    Fd fd(::openat(root_.get(), path.c_str(), flags, 0600));
    if (!fd.valid() && errno == ENOENT) {
        CW_TRY(make_parents(path));
        fd = Fd(::openat(root_.get(), path.c_str(), flags, 0600));
    }
    if (!fd.valid()) {
        return std::unexpected(named(fail_call(path, errno).error()));
    }
    return fd;
}

Error DirectoryTree::named(Error error) const {
    if (error.code == Errc::vault_full) {
        error.detail = path_ + ": " + error.detail;
    }
    return error;
}

Result<void> DirectoryTree::stamp(const std::string& path, std::int64_t mtime_ns) const {
    const Fd fd(::openat(root_.get(), path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) {
        return fail_call(path, errno);
    }
    return set_mtime(fd.get(), mtime_ns);
}

Result<void> DirectoryTree::publish(const std::string& from, const std::string& to, bool replace,
                                    bool& published) const {
    const char* source = from.c_str();
    const char* target = to.c_str();
    const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
    int result = ::renameat2(root_.get(), source, root_.get(), target, flags);
    if (result != 0 && errno == EINVAL && !replace) {
        // The file system lacks RENAME_NOREPLACE; link(2) also refuses an existing name.
        result = ::linkat(root_.get(), source, root_.get(), target, 0);
        if (result == 0) {
            (void)::unlinkat(root_.get(), source, 0);  // The sweep takes what is left.
        }
    }
    if (result != 0) {
        return errno == EEXIST ? fail(Errc::blob_conflict, to + " exists")
                               : std::unexpected(named(fail_call(to, errno).error()));
    }
    published = true;
    return sync_parent(to);
}

Result<void> DirectoryTree::unlink(const std::string& path) const {
    if (::unlinkat(root_.get(), path.c_str(), 0) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return {};
        }
        return fail_call(path, errno);
    }
    return sync_parent(path);
}

void DirectoryTree::prune(const std::string& path, const std::string& stop) const {
    for (std::string at = parent_of(path); at.size() > stop.size(); at = parent_of(at)) {
        if (::unlinkat(root_.get(), at.c_str(), AT_REMOVEDIR) != 0) {
            return;  // Not empty: others live here.
        }
    }
}

Result<Fd> DirectoryTree::lock(const std::string& name, bool exclusive) const {
    const std::string path = std::string(lock_directory) + "/" + name;
    auto fd = create_file(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC);
    if (!fd && !exclusive && fd.error().code == Errc::blob_denied) {
        return Fd{};  // A vault on read-only media: nobody can change it under the reader.
    }
    if (!fd) {
        return fd;
    }
    const int operation = (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
    for (int attempt = 0; ::flock(fd->get(), operation) != 0; ++attempt) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return fail_call(path, errno);
        }
        if (attempt == lock_attempts_max) {  // Its holder is stopped, or its disk hangs.
            return fail(Errc::blob_unavailable, path + " is held by another process");
        }
        const timespec pause{.tv_sec = 0, .tv_nsec = lock_pause_ns};
        (void)::ppoll(nullptr, 0, &pause, nullptr);
    }
    return fd;
}

void DirectoryTree::sweep_temporaries(std::int64_t before_s) const {
    const auto names = list(std::string(temporary_directory));
    if (!names) {
        return;  // Housekeeping only: the next start tries again.
    }
    for (const std::string& name : *names) {
        const std::string path = std::string(temporary_directory) + "/" + name;
        if (const auto found = status(path); found && found->st_ctim.tv_sec < before_s) {
            (void)::unlinkat(root_.get(), path.c_str(), 0);
        }
    }
}

Result<void> DirectoryTree::sync_parent(const std::string& path) const {
    const std::string parent = parent_of(path);
    const Fd fd(::openat(root_.get(), parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() || ::fsync(fd.get()) != 0) {
        return fail_errno(Errc::io_error, "sync " + parent, errno);
    }
    return {};
}

}  // namespace cw::blob
