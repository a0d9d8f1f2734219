// TargetIo: the content of a target, at any sector.
//
// A device is read and written past the page cache. What the kernel keeps of a device is not what
// is on it when somebody else has written it: a file system through a partition's own cache,
// another host, the file behind a loop device. A stale block that equals the point's would be
// left as it is, and the target would never become the point. Of an image file there is one cache
// for everybody. Blocking; thread-safety: none.
#pragma once

#include "base/disk.h"

#include <memory>
#include <string>

namespace cw::volume {

class TargetIo {
public:
    // Held exclusively where the kernel can: nobody mounts a device meanwhile.
    // Errors: those of Disk::open(); target_unsafe: held by somebody else.
    static Result<std::unique_ptr<TargetIo>> open(Disk& disk, const std::string& path, bool device,
                                                  bool write);
    TargetIo(Disk& disk, std::unique_ptr<File> file, bool direct);

    [[nodiscard]] std::uint64_t size() const noexcept { return file_->size(); }
    // A range of sectors within the target. Errors: io_error, also for a target that ends early.
    Result<void> read(std::uint64_t offset, MutableBytes out);
    // Begins at a whole block of 4 KiB, and ends at one or at the end of the target.
    Result<void> write(std::uint64_t offset, Bytes bytes);
    Result<void> sync() { return sync_file(disk_, *file_); }

private:
    Disk& disk_;
    std::unique_ptr<File> file_;
    ByteVector memory_;    // Empty: everything goes where it is wanted.
    MutableBytes window_;  // The part of memory_ that is aligned as a device wants it.
};

}  // namespace cw::volume
