#include "agent/seed/seed_manifest.h"

#include <algorithm>

namespace cw::agent {
namespace {

constexpr std::string_view magic = "CWSEED\r\n";  // A transfer as text would show.
constexpr std::uint32_t version = 1;

bool possible(const SeedManifest& manifest) noexcept {
    return manifest.size_bytes > 0 && manifest.size_bytes <= seed_disk_bytes_max &&
           manifest.size_bytes % sector_bytes == 0 && manifest.file_bytes > 0 &&
           manifest.machine_name.size() <= seed_name_bytes_max && !manifest.machine.is_nil() &&
           !manifest.disk.is_nil() && !manifest.disk_name.empty() &&
           manifest.disk_name.size() <= seed_name_bytes_max;
}

std::unexpected<Error> corrupt(std::string what) {
    return fail(Errc::record_corrupt, "seed manifest: " + std::move(what));
}

// Everything between version and parts.
Result<SeedManifest> read_head(ByteReader& in) {
    SeedManifest manifest;
    CW_TRY_ASSIGN(manifest.machine.bytes, in.array<16>());
    CW_TRY_ASSIGN(manifest.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(manifest.size_bytes, in.u64());
    CW_TRY_ASSIGN(manifest.file_bytes, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t time, in.u64());
    CW_TRY_ASSIGN(const std::uint8_t still, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t format, in.u8());
    CW_TRY_ASSIGN(manifest.machine_name, in.text16(seed_name_bytes_max));
    CW_TRY_ASSIGN(manifest.disk_name, in.text16(seed_name_bytes_max));
    if (still > 1 || format < static_cast<std::uint8_t>(SeedFormat::raw) ||
        format > static_cast<std::uint8_t>(SeedFormat::vhdx) || time > INT64_MAX) {
        return corrupt("a field is impossible");
    }
    manifest.time = WallMicros{static_cast<std::int64_t>(time)};
    manifest.still = still == 1;
    manifest.format = static_cast<SeedFormat>(format);
    if (!possible(manifest)) {
        return corrupt("a field is impossible");
    }
    return manifest;
}

}  // namespace

std::string_view name_of(SeedFormat format) noexcept {
    switch (format) {
        case SeedFormat::raw:
            return "raw";
        case SeedFormat::qcow2:
            return "qcow2";
        case SeedFormat::vhd:
            return "vhd";
        case SeedFormat::vhdx:
            return "vhdx";
    }
    return "?";
}

Result<SeedFormat> parse_seed_format(std::string_view text) {
    for (const SeedFormat format :
         {SeedFormat::raw, SeedFormat::qcow2, SeedFormat::vhd, SeedFormat::vhdx}) {
        if (text == name_of(format)) {
            return format;
        }
    }
    return fail(Errc::usage,
                "a format is raw, qcow2, vhd or vhdx, not '" + std::string(text) + "'");
}

std::uint64_t seed_part_count(std::uint64_t size_bytes) noexcept {
    return (size_bytes + seed_part_bytes - 1) / seed_part_bytes;
}

std::uint64_t seed_part_length(std::uint64_t size_bytes, std::uint64_t part) noexcept {
    CW_ASSERT(part < seed_part_count(size_bytes));
    return std::min(seed_part_bytes, size_bytes - part * seed_part_bytes);
}

ByteVector encode_seed_manifest(const SeedManifest& manifest) {
    CW_ASSERT(possible(manifest) && manifest.parts.size() == seed_part_count(manifest.size_bytes));
    ByteVector bytes;
    ByteAppender out(bytes);
    out.bytes(as_bytes(magic));
    out.u32(version);
    out.bytes(manifest.machine.bytes);
    out.bytes(manifest.disk.bytes);
    out.u64(manifest.size_bytes);
    out.u64(manifest.file_bytes);
    out.u64(static_cast<std::uint64_t>(raw(manifest.time)));
    out.u8(manifest.still ? 1 : 0);
    out.u8(static_cast<std::uint8_t>(manifest.format));
    out.text16(manifest.machine_name);
    out.text16(manifest.disk_name);
    for (const Sha256& part : manifest.parts) {
        out.bytes(part);
    }
    const Sha256 whole = sha256(bytes);
    out.bytes(whole);
    CW_ASSERT(bytes.size() <= seed_manifest_bytes_max);
    return bytes;
}

Result<SeedManifest> decode_seed_manifest(Bytes bytes) {
    constexpr std::size_t head = magic.size() + sizeof version, tail = sizeof(Sha256);
    if (bytes.size() < head + tail || as_text(bytes.first(magic.size())) != magic) {
        return corrupt("this file is none");
    }
    ByteReader in(bytes.subspan(magic.size()), Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t found, in.u32());
    if (found != version) {
        return fail(Errc::format_unsupported, "seed manifest of version " + std::to_string(found));
    }
    if (sha256(bytes.first(bytes.size() - tail)) != seed_fingerprint(bytes)) {
        return corrupt("its checksum is wrong");
    }
    CW_TRY_ASSIGN(SeedManifest manifest, read_head(in));
    const std::uint64_t count = seed_part_count(manifest.size_bytes);
    if (in.remaining() != (count + 1) * sizeof(Sha256)) {
        return corrupt("it has not one hash for each part of the disk");
    }
    manifest.parts.resize(count);
    for (Sha256& part : manifest.parts) {
        CW_TRY_ASSIGN(part, in.array<sizeof(Sha256)>());
    }
    return manifest;
}

Sha256 seed_fingerprint(Bytes encoded) {
    CW_ASSERT(encoded.size() >= sizeof(Sha256));
    Sha256 whole;
    std::copy_n(encoded.last(whole.size()).begin(), whole.size(), whole.begin());
    return whole;
}

}  // namespace cw::agent
