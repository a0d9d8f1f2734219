// The disk seam: files and block devices, asynchronous, so that io_uring, plain system calls and a
// simulated disk with a cache, torn sectors and failing syncs are the same to the code above.
//
// A Disk is one thread's submission context: start() queues an operation, poll() runs the callbacks
// of finished ones. Callbacks never run inside start(). Completions arrive in any order.
// Thread-safety: none; one Disk belongs to one thread. A File may be used through the Disk that
// opened it only. Lifetime: operations, their memory and the File must outlive the completion.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sys/uio.h>

namespace cw {

class File {
public:
    virtual ~File() = default;
    [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;  // Bytes; of devices too.
};

enum class DiskOp : std::uint8_t { read, write, sync };

// One operation in flight; embed it in what it belongs to. No allocation per operation.
struct DiskRequest {
    DiskOp op = DiskOp::read;
    bool durable = false;  // write: complete only when on stable storage (RWF_DSYNC).
    File* file = nullptr;
    std::uint64_t offset = 0;      // Multiple of block_bytes for files opened direct.
    const iovec* parts = nullptr;  // Borrowed until completion; block_bytes-aligned when direct.
    unsigned part_count = 0;       // At most 1024 (IOV_MAX).
    // Set by the Disk before `done`: bytes moved, or -errno. Short transfers are continued inside
    // the Disk, so a non-negative result is either complete or stopped at end of file (read).
    std::int64_t result = 0;
    void (*done)(DiskRequest&) = nullptr;
    void* context = nullptr;  // For the owner.
};

struct OpenOptions {
    bool write = false;
    bool create = false;     // Create if absent; existing content is kept.
    bool exclusive = false;  // With create: fail with file_exists if present. Devices: O_EXCL.
    bool direct = false;     // O_DIRECT where the file system has it.
    unsigned mode = 0600;    // Of a file that `create` makes, as in chmod.
    // Nobody else may open it with `lock` while this File lives, in this process or another; the
    // kernel ends the lock with the process. Errors: in_use.
    bool lock = false;
};

class Disk {
public:
    virtual ~Disk() = default;

    // Blocking, for start-up and control paths. Errors: not_found, file_exists, io_error;
    // target_unsafe for a device that is held by someone else.
    virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenOptions options) = 0;
    virtual Result<void> create_directories(const std::string& path) = 0;  // Mode 0700.
    virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
    virtual Result<void> remove(const std::string& path) = 0;
    virtual Result<std::vector<std::string>> list(const std::string& directory) = 0;  // Names only.
    // fsync of the directory: without it a create, rename or unlink may not survive a power cut.
    virtual Result<void> sync_directory(const std::string& directory) = 0;
    virtual Result<bool> exists(const std::string& path) = 0;
    // Makes the file exactly `bytes` long; with `allocate`, reserves the space on the device.
    // Errors: disk_full when the device has no room, io_error.
    virtual Result<void> resize(File& file, std::uint64_t bytes, bool allocate) = 0;
    virtual Result<std::uint64_t> free_bytes(const std::string& directory) = 0;

    // Queues `request`; its `done` runs in a later poll(). Never fails: errors arrive as results.
    // Operations in flight are not ordered among each other: a sync covers only writes whose `done`
    // has run, so start it after them.
    virtual void start(DiskRequest& request) = 0;
    // Runs callbacks of finished operations; returns how many. Does not wait.
    virtual std::size_t poll() = 0;
    // Waits until at least one operation finished or `timeout_ns` passed (0: return at once).
    virtual void wait(std::int64_t timeout_ns) = 0;
    [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;
    // A descriptor that becomes readable when poll() has work, or -1. For a Runner's doorbell.
    [[nodiscard]] virtual int event_fd() const noexcept { return -1; }
};

// io_uring (liburing). At most `queue_depth` operations are with the kernel, the others wait here.
// Errors: io_error when the kernel refuses a ring (io_uring_disabled).
Result<std::unique_ptr<Disk>> make_uring_disk(unsigned queue_depth);
// pread/pwrite/fdatasync; operations run inside poll(). Works everywhere, and under sanitizers,
// which cannot see what the kernel writes through io_uring.
std::unique_ptr<Disk> make_posix_disk();
// io_uring if the kernel allows it and no sanitizer is compiled in, else POSIX.
std::unique_ptr<Disk> make_best_disk(unsigned queue_depth);

// The directory that `path` lies in: "." for a bare name, "/" for what lies in the root.
std::string parent_of(const std::string& path);

// Blocking conveniences over any Disk, for formats, tools and start-up. They pump poll(), so they
// are not called from a `done`. read_at returns less than asked for only at the end of the file.
// Errors: io_error.
Result<std::size_t> read_at(Disk& disk, File& file, std::uint64_t offset, MutableBytes out);
Result<void> write_at(Disk& disk, File& file, std::uint64_t offset, Bytes bytes, bool durable);
Result<void> sync_file(Disk& disk, File& file);
// Takes `directory` for this process alone: two programs on one state or one cache would destroy
// it. Creates the directory if absent; the lock lives as long as the File. Errors: in_use,
// io_error.
Result<std::unique_ptr<File>> lock_directory(Disk& disk, const std::string& directory);
// Whole small files. read_file refuses more than `max` bytes. write_file_atomically writes a
// temporary beside `path`, syncs it, renames it, syncs the directory; `mode` as in chmod.
Result<ByteVector> read_file(Disk& disk, const std::string& path, std::size_t max);
Result<void> write_file_atomically(Disk& disk, const std::string& path, Bytes bytes,
                                   unsigned mode = 0600);

}  // namespace cw
