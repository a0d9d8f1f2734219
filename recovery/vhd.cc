#include "recovery/vhd.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint32_t features_reserved = 2, format_version = 0x00010000, type_fixed = 2;
constexpr std::uint64_t no_next_structure = ~0ULL;
constexpr std::int64_t epoch_2000_s = 946'684'800;  // VHD time begins 2000-01-01.
constexpr std::size_t checksum_at = 64;
// Readers trust the size fields only of creators they know; of others they take the geometry, which
// is smaller than most disks.
constexpr std::string_view creator_app = "win ", creator_os = "Wi2k", cookie = "conectix";
constexpr std::uint32_t creator_version = 0x000a0000;

void big_endian(ByteWriter& out, std::uint64_t value, std::size_t width) {
    for (std::size_t i = width; i-- > 0;) {
        out.u8(static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

std::uint32_t checksum_of(const VhdFooter& footer) {
    std::uint32_t sum = 0;
    for (const std::byte b : footer) {
        sum += std::to_integer<std::uint32_t>(b);
    }
    return ~sum;
}

}  // namespace

VhdGeometry vhd_geometry(std::uint64_t disk_bytes) noexcept {
    constexpr std::uint64_t cylinders_max = 65535;
    const std::uint64_t total = std::min(disk_bytes / sector_bytes, cylinders_max * 16 * 255);
    std::uint64_t sectors = 255, heads = 16, tracks = total / sectors;
    if (total < cylinders_max * 16 * 63) {
        sectors = 17;
        tracks = total / sectors;
        heads = std::max<std::uint64_t>(4, (tracks + 1023) / 1024);
        if (tracks >= heads * 1024 || heads > 16) {
            sectors = 31;
            heads = 16;
            tracks = total / sectors;
        }
        if (tracks >= heads * 1024) {
            sectors = 63;
            heads = 16;
            tracks = total / sectors;
        }
    }
    return {static_cast<std::uint16_t>(tracks / heads), static_cast<std::uint8_t>(heads),
            static_cast<std::uint8_t>(sectors)};
}

VhdFooter vhd_footer(std::uint64_t disk_bytes, const std::array<std::byte, 16>& id,
                     WallMicros created) {
    CW_ASSERT(disk_bytes > 0 && disk_bytes % mib == 0);
    const VhdGeometry geometry = vhd_geometry(disk_bytes);
    const std::int64_t seconds = raw(created) / 1'000'000 - epoch_2000_s;
    VhdFooter footer{};
    ByteWriter out(footer);
    out.bytes(as_bytes(cookie));
    big_endian(out, features_reserved, 4);
    big_endian(out, format_version, 4);
    big_endian(out, no_next_structure, 8);
    big_endian(out, static_cast<std::uint32_t>(std::max<std::int64_t>(seconds, 0)), 4);
    out.bytes(as_bytes(creator_app));
    big_endian(out, creator_version, 4);
    out.bytes(as_bytes(creator_os));
    big_endian(out, disk_bytes, 8);  // Original size.
    big_endian(out, disk_bytes, 8);  // Current size.
    big_endian(out, geometry.cylinders, 2);
    out.u8(geometry.heads);
    out.u8(geometry.sectors);
    big_endian(out, type_fixed, 4);
    CW_ASSERT(out.position() == checksum_at);
    big_endian(out, 0, 4);
    out.bytes(id);
    ByteWriter checksum(MutableBytes(footer).subspan(checksum_at, 4));
    big_endian(checksum, checksum_of(footer), 4);
    return footer;
}

}  // namespace cw::recovery
