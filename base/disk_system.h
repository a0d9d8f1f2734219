// What the io_uring and the POSIX disk share: files as descriptors, the blocking operations, and
// the bookkeeping of one operation that the kernel may finish in several pieces.
//
// Private to base/; other rooms know base/disk.h only.
#pragma once

#include "base/disk.h"
#include "base/net.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cw {

class SystemFile final : public File {
public:
    SystemFile(Fd fd, bool direct) : fd_(std::move(fd)), direct_(direct) {}
    std::uint64_t size() const noexcept override;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] bool direct() const noexcept { return direct_; }
    // "a directory", "a pipe": what it is, if it has no content that can be read again and again.
    // Empty: a regular file or a block device.
    [[nodiscard]] std::string_view oddity() const noexcept;

private:
    Fd fd_;
    bool direct_;  // O_DIRECT is in effect.
};

// The blocking half of Disk, by plain system calls.
class SystemDisk : public Disk {
public:
    Result<std::unique_ptr<File>> open(const std::string& path, OpenOptions options) override;
    Result<void> create_directories(const std::string& path) override;
    Result<void> rename(const std::string& from, const std::string& to) override;
    Result<void> remove(const std::string& path) override;
    Result<std::vector<std::string>> list(const std::string& directory) override;
    Result<void> sync_directory(const std::string& directory) override;
    Result<bool> exists(const std::string& path) override;
    Result<void> resize(File& file, std::uint64_t bytes, bool allocate) override;
    Result<std::uint64_t> free_bytes(const std::string& directory) override;
};

// How far one request has come. The kernel may move less than asked, or be interrupted: then the
// rest is tried again, and only the end is reported.
class Transfer {
public:
    // Asserts that the request is well-formed: what we ask for is our own number.
    void begin(DiskRequest& request);
    // Takes the kernel's answer (bytes moved or -errno). True: finished, request.result is set.
    // False: try the remainder.
    bool advance(std::int64_t answer);

    [[nodiscard]] DiskRequest& request() const noexcept { return *request_; }
    [[nodiscard]] int fd() const noexcept { return file().fd(); }
    [[nodiscard]] const iovec* parts() const noexcept {
        return rest_.empty() ? request_->parts : rest_.data();
    }
    [[nodiscard]] unsigned part_count() const noexcept {
        return rest_.empty() ? request_->part_count : static_cast<unsigned>(rest_.size());
    }
    [[nodiscard]] std::uint64_t offset() const noexcept { return request_->offset + moved_; }

private:
    [[nodiscard]] const SystemFile& file() const noexcept {
        return static_cast<const SystemFile&>(*request_->file);
    }
    bool finish(std::int64_t result);
    void cut_front();

    DiskRequest* request_ = nullptr;
    std::uint64_t wanted_ = 0;
    std::uint64_t moved_ = 0;
    unsigned tries_ = 0;       // Without progress.
    std::vector<iovec> rest_;  // The parts still to move, once something has been moved.
};

}  // namespace cw
