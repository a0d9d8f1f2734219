// TargetHold: a target that is kept from everybody else while something is collected for it.
//
// A device is held by opening it exclusively (TargetIo). This is for what such an opening does not
// stop: a virtual machine that is started from the image. QEMU says by locks on single bytes what
// it does with an image and what it lets others do, and refuses an image whose locks contradict
// (block/file-posix.c and the permissions of block.h in its sources: byte 100 + n: does it; byte
// 200 + n: lets nobody else; n = 0 read, 1 write, 3 resize). These are the same locks. Programs
// that ask for no lock are not stopped: VolumeWriter notices that they wrote.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <memory>
#include <string>

namespace cw::volume {

class TargetHold {
public:
    // Reads it, and lets nobody write. Where the file system knows no such locks nothing is held.
    // Errors: not_found, io_error, target_unsafe: somebody has locked it.
    static Result<std::unique_ptr<TargetHold>> take(const std::string& path);
    // Whether somebody has locked it. Errors: as take().
    static Result<void> check(const std::string& path);
    ~TargetHold();
    TargetHold(const TargetHold&) = delete;
    TargetHold& operator=(const TargetHold&) = delete;

    // Writes it from here on: nobody else may read it either, who counts on nobody writing.
    Result<void> begin_writing();
    // Errors: target_unsafe: somebody else has locked it, too.
    [[nodiscard]] Result<void> check_others() const;

private:
    TargetHold(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
    static Result<std::unique_ptr<TargetHold>> open(const std::string& path);
    [[nodiscard]] Result<void> lock(std::int64_t byte) const;

    int fd_;
    std::string path_;
};

}  // namespace cw::volume
