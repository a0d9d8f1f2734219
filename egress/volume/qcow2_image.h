// A target is written as the disk itself. One that is a qcow2 image would be destroyed by that, and
// is recognised: something must stand in between that shows its content as a raw file.
#pragma once

#include "egress/volume/target_io.h"

#include <cstdint>
#include <optional>
#include <string>

namespace cw::volume {

struct Qcow2Image {
    std::uint64_t disk_bytes = 0;  // Of the disk that it holds.
    bool dirty = false;            // Not closed in peace.
    bool corrupt = false;          // QEMU found its tables wrong.
    bool backed = false;           // Holds only what differs from another image.
};

// `head`: the first bytes of a file. None: it is no qcow2 image, or too few of them.
std::optional<Qcow2Image> parse_qcow2(Bytes head);

// Of a target for a disk of `disk_bytes`; 0: it is not known yet. A disk of the target's own size
// may hold such bytes as its content: that is none, unless the image is of a disk of that size.
// Errors: target_unsafe, with what to do about this image; io_error.
Result<void> check_not_qcow2(TargetIo& target, const std::string& path, std::uint64_t disk_bytes);

}  // namespace cw::volume
