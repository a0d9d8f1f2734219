// What lies beside a seed image: of which disk it is, and what every part of it must be. Flat, and
// checked by its own hash; the layout is in SEED.md.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/ids.h"

#include <string>
#include <string_view>
#include <vector>

namespace cw::agent {

enum class SeedFormat : std::uint8_t { raw = 1, qcow2 = 2, vhd = 3, vhdx = 4 };
std::string_view name_of(SeedFormat format) noexcept;  // "vhdx"
// Errors: usage.
Result<SeedFormat> parse_seed_format(std::string_view text);

inline constexpr std::uint64_t seed_part_bytes = 16 * mib;
inline constexpr std::size_t seed_manifest_bytes_max = 129ULL * mib;  // Of a disk of 64 TiB.
inline constexpr std::uint64_t seed_disk_bytes_max = 64ULL << 40;
inline constexpr std::size_t seed_name_bytes_max = 256;

struct SeedManifest {
    MachineId machine;
    DiskId disk;
    std::uint64_t size_bytes = 0;  // Of the disk.
    std::uint64_t file_bytes = 0;  // Of the image's file.
    WallMicros time{};             // When reading began; a still image is of this moment.
    bool still = false;            // Nothing was written to the disk while it was read.
    SeedFormat format = SeedFormat::raw;
    std::string machine_name, disk_name;  // People's words; the first may be empty.
    std::vector<Sha256> parts;  // Of each seed_part_bytes of the disk; the last may be shorter.

    friend bool operator==(const SeedManifest&, const SeedManifest&) = default;
};

// How many parts a disk has, and how long one of them is.
std::uint64_t seed_part_count(std::uint64_t size_bytes) noexcept;
std::uint64_t seed_part_length(std::uint64_t size_bytes, std::uint64_t part) noexcept;

// Asserts what decode checks.
ByteVector encode_seed_manifest(const SeedManifest& manifest);
// Errors: record_corrupt, format_unsupported (made by a newer version).
Result<SeedManifest> decode_seed_manifest(Bytes bytes);
// The hash at the end of an encoded manifest: who knows it by another way than the medium knows
// that nobody has changed manifest or image.
Sha256 seed_fingerprint(Bytes encoded);

}  // namespace cw::agent
