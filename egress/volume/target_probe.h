// TargetProbe: is it safe to write this target? A seam, because it asks the kernel.
#pragma once

#include "base/error.h"
#include "egress/volume/target_hold.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace cw::volume {

class TargetProbe {
public:
    virtual ~TargetProbe() = default;
    // Who the target is, independent of its name: serial or WWN of a device, device-mapper UUID,
    // inode of a file. Errors: not_found, io_error.
    virtual Result<std::string> identity(const std::string& path) = 0;
    // Refuses what is in use: a mounted device or one with a mounted partition, one that holds
    // volumes or arrays, swap, what lies behind a loop device, a file that somebody has locked (as
    // QEMU does), `ours` apart. Errors: target_unsafe, not_found.
    virtual Result<void> check_unused(const std::string& path,
                                      const TargetHold* ours = nullptr) = 0;
    // Null where there is nothing to hold. Errors: as TargetHold::take().
    virtual Result<std::unique_ptr<TargetHold>> hold(const std::string& path) = 0;
    // When its content was last written, in ns of the file system's clock; 0: nobody knows, as of
    // a device. Errors: not_found, io_error.
    virtual Result<std::int64_t> written_ns(const std::string& path) = 0;
};

// Reads /proc/self/mountinfo, /proc/swaps and /sys/dev/block.
std::unique_ptr<TargetProbe> make_system_probe();

// Whether writing one may change the other: they are one file or device, one is a partition of the
// other, or lies on it through a loop device or a device mapper. False where either is not there.
bool share_storage(const std::string& a, const std::string& b);

// Pure half of the check: does `mountinfo` (its text) mount device `major:minor`?
bool mounted_in(std::string_view mountinfo, std::string_view major_minor);

}  // namespace cw::volume
