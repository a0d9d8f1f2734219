// The footer that makes a raw image a fixed VHD (Microsoft's "Virtual Hard Disk Image Format
// Specification"): what Azure imports and Hyper-V attaches. Data starts at byte 0, so everything
// before the footer is the raw image itself.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"

#include <array>

namespace cw::recovery {

inline constexpr std::size_t vhd_footer_bytes = 512;
using VhdFooter = std::array<std::byte, vhd_footer_bytes>;

struct VhdGeometry {
    std::uint16_t cylinders = 0;
    std::uint8_t heads = 0;
    std::uint8_t sectors = 0;
    friend bool operator==(const VhdGeometry&, const VhdGeometry&) = default;
};

// The size of the VHD's disk: a whole number of MiB, as Azure demands.
constexpr std::uint64_t vhd_disk_bytes(std::uint64_t image_bytes) noexcept {
    return align_up(image_bytes, mib);
}
// By the specification's appendix; capped at 65535/16/255 from 127.5 GiB.
VhdGeometry vhd_geometry(std::uint64_t disk_bytes) noexcept;
// `disk_bytes` as from vhd_disk_bytes(). `id` is stable per recovery point and disk.
VhdFooter vhd_footer(std::uint64_t disk_bytes, const std::array<std::byte, 16>& id,
                     WallMicros created);

}  // namespace cw::recovery
