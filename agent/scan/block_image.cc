#include "agent/scan/block_image.h"

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/ids.h"
#include "cache/aligned_buffer.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::size_t direct_bytes = 1024 * 1024;

class FileImage final : public BlockImage {
public:
    FileImage(Fd fd, std::string path, std::uint64_t size, bool device, bool direct)
        : fd_(std::move(fd)),
          path_(std::move(path)),
          size_(size),
          device_(device),
          direct_(direct) {}

    std::uint64_t size() const noexcept override { return size_; }

    std::uint64_t size_beneath() const noexcept override {
        if (device_) {
            std::uint64_t size = 0;
            return ::ioctl(fd_.get(), BLKGETSIZE64, &size) == 0 ? size : 0;
        }
        struct stat st{};
        return ::fstat(fd_.get(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
    }

    bool replaced() const override {
        struct stat opened{}, named{};
        if (::fstat(fd_.get(), &opened) != 0 || ::stat(path_.c_str(), &named) != 0) {
            return true;
        }
        return device_ ? opened.st_rdev != named.st_rdev
                       : opened.st_dev != named.st_dev || opened.st_ino != named.st_ino;
    }

    Result<void> read(std::uint64_t offset, MutableBytes out) override {
        check_range(offset, out.size());
        return direct_ ? read_direct(offset, out) : read_all(offset, out);
    }

    Result<void> write(std::uint64_t offset, Bytes bytes) override {
        check_range(offset, bytes.size());
        CW_CRASH_POINT("agent.image.before_write");
        while (!bytes.empty()) {
            const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), to_off(offset));
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                const int error = n < 0 ? errno : EIO;
                const bool no_room = error == ENOSPC || error == EDQUOT;
                return fail_errno(no_room ? Errc::disk_full : Errc::io_error, "write " + path_,
                                  error);
            }
            bytes = bytes.subspan(static_cast<std::size_t>(n));
            offset += static_cast<std::uint64_t>(n);
        }
        CW_CRASH_POINT("agent.image.after_write");
        return {};
    }

    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool unmap) override {
        check_range(offset, length);
        const int mode =
            (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
        if (::fallocate(fd_.get(), mode, to_off(offset), to_off(length)) == 0) {
            return {};
        }
        return write_zeros(offset, length);
    }

    Result<void> flush() override {
        if (::fdatasync(fd_.get()) != 0) {
            return fail_errno(Errc::io_error, "sync " + path_, errno);
        }
        return {};
    }

    std::string fingerprint() const override {
        struct stat st{};
        if (::fstat(fd_.get(), &st) != 0) {
            return {};
        }
        if (!device_) {
            const auto ns = [](const timespec& t) {
                return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec);
            };
            return "file " + std::to_string(st.st_ino) + " " + ns(st.st_mtim);
        }
        return device_fingerprint(st.st_rdev);
    }

    std::optional<FileStamp> stamp() const override {
        struct stat st{};
        if (device_ || ::fstat(fd_.get(), &st) != 0) {
            return std::nullopt;
        }
        return FileStamp{st.st_ino, st.st_mtim.tv_sec * ns_per_s + st.st_mtim.tv_nsec};
    }

private:
    static off_t to_off(std::uint64_t value) { return static_cast<off_t>(value); }

    Result<void> read_all(std::uint64_t offset, MutableBytes out) const {
        while (!out.empty()) {
            const ssize_t n = ::pread(fd_.get(), out.data(), out.size(), to_off(offset));
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                return fail_errno(Errc::source_gone, "read " + path_, errno);
            }
            if (n == 0) {
                return fail(Errc::source_gone, path_ + " became shorter");
            }
            out = out.subspan(static_cast<std::size_t>(n));
            offset += static_cast<std::uint64_t>(n);
        }
        return {};
    }

    // Whole blocks, through memory that is aligned as the device wants it.
    Result<void> read_direct(std::uint64_t offset, MutableBytes out) const {
        cache::AlignedBuffer buffer(std::min(out.size() + 2 * block_bytes, direct_bytes));
        while (!out.empty()) {
            const std::uint64_t from = offset / block_bytes * block_bytes;
            const std::size_t skip = offset - from;
            const std::size_t step = std::min(out.size(), buffer.size() - skip);
            const std::size_t wanted = align_up(skip + step, block_bytes);
            CW_TRY(read_all(from, buffer.bytes().first(std::min(wanted, size_ - from))));
            std::copy_n(buffer.bytes().begin() + static_cast<std::ptrdiff_t>(skip), step,
                        out.begin());
            out = out.subspan(step);
            offset += step;
        }
        return {};
    }

    void check_range(std::uint64_t offset, std::uint64_t length) const {
        CW_ASSERT(offset <= size_ && length <= size_ - offset);
    }

    Result<void> write_zeros(std::uint64_t offset, std::uint64_t length) {
        static constexpr std::array<std::byte, 64 * kib> zeros{};
        while (length > 0) {
            const std::uint64_t step = std::min<std::uint64_t>(length, zeros.size());
            CW_TRY(write(offset, Bytes(zeros).first(step)));
            offset += step;
            length -= step;
        }
        return {};
    }

    // Sectors written since boot: grows with every write that reached the device.
    static std::string device_fingerprint(dev_t device) {
        const std::string node =
            "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
        std::ifstream stat(node + "/stat"), boot("/proc/sys/kernel/random/boot_id");
        std::string boot_id, field;
        std::getline(boot, boot_id);
        for (int i = 0; i < 7 && stat >> field; ++i) {
        }
        return stat && !boot_id.empty() ? "device " + boot_id + " " + field : std::string{};
    }

    Fd fd_;
    std::string path_;
    std::uint64_t size_;
    bool device_, direct_;
};

Result<std::uint64_t> size_of(const Fd& fd, const struct stat& st, const std::string& path) {
    std::uint64_t size = 0;
    if (S_ISBLK(st.st_mode)) {
        if (::ioctl(fd.get(), BLKGETSIZE64, &size) != 0) {
            return fail_errno(Errc::source_gone, "size of " + path, errno);
        }
    } else if (S_ISREG(st.st_mode)) {
        size = static_cast<std::uint64_t>(st.st_size);
    } else {
        return fail(Errc::source_gone, path + " is neither a file nor a block device");
    }
    if (size == 0 || size % sector_bytes != 0) {
        return fail(Errc::size_mismatch,
                    size == 0 ? path + " is empty"
                              : path + " has " + std::to_string(size) +
                                    " bytes: not a multiple of 512, as truncate -s %512 makes it");
    }
    return size;
}

Result<std::unique_ptr<BlockImage>> wrap(Fd fd, const std::string& path, bool others_write) {
    struct stat st{};
    if (::fstat(fd.get(), &st) != 0) {
        return fail_errno(Errc::source_gone, "stat " + path, errno);
    }
    CW_TRY_ASSIGN(const std::uint64_t size, size_of(fd, st, path));
    const bool device = S_ISBLK(st.st_mode);
    const bool direct = device && others_write;
    if (direct && ::fcntl(fd.get(), F_SETFL, O_DIRECT) != 0) {
        return fail_errno(Errc::source_gone, "read " + path + " past the page cache", errno);
    }
    return std::make_unique<FileImage>(std::move(fd), path, size, device, direct);
}

}  // namespace

bool was_resized(const BlockImage& image) noexcept {
    const std::uint64_t now = image.size_beneath();
    return now != image.size() && now > 0 && now % sector_bytes == 0;
}

Result<std::unique_ptr<BlockImage>> open_image(const std::string& path, ImageAccess access) {
    const bool write = access == ImageAccess::read_write;
    Fd fd(::open(path.c_str(), (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY));
    if (!fd.valid()) {
        return fail_errno(errno == ENOENT ? Errc::not_found : Errc::source_gone, "open " + path,
                          errno);
    }
    if (write && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        return fail_errno(Errc::target_unsafe, path + " is locked by another program", errno);
    }
    return wrap(std::move(fd), path, !write);
}

Result<std::unique_ptr<BlockImage>> clone_image(const std::string& path,
                                                const std::string& clone_path) {
    const Fd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!source.valid()) {
        return fail_errno(Errc::source_gone, "open " + path, errno);
    }
    ::unlink(clone_path.c_str());  // Of an earlier run that was killed in between.
    Fd clone(::open(clone_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!clone.valid()) {
        return fail_errno(Errc::source_unfrozen, "create " + clone_path, errno);
    }
    const int failed = ::ioctl(clone.get(), FICLONE, source.get()) != 0 ? errno : 0;
    ::unlink(clone_path.c_str());
    if (failed != 0) {
        return fail_errno(Errc::source_unfrozen, "reflink " + path, failed);
    }
    return wrap(std::move(clone), clone_path, false);
}

}  // namespace cw::agent
