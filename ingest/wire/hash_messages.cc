// Ranges of a disk: HASHES, HASHES_REQUEST, EXTENTS.
//
// HASHES_REQUEST: u64 first block | u32 count
// HASHES: u64 first block | u32 count | bitmap of known blocks, bit i of byte i/8, unused bits 0 |
//         16 bytes per known block
// EXTENTS: u32 count | per range: u64 offset | u64 length
#include "ingest/wire/codec.h"
#include "ingest/wire/messages.h"

#include <algorithm>

namespace cw::wire {
namespace {

constexpr std::uint64_t blocks_max = disk_bytes_max / hash_block_bytes;

bool blocks_are_valid(std::uint64_t first, std::uint64_t count) noexcept {
    return count >= 1 && count <= hashes_max && first < blocks_max && count <= blocks_max - first;
}

Result<std::vector<bool>> read_bitmap(ByteReader& reader, std::size_t count) {
    CW_TRY_ASSIGN(const Bytes bytes, reader.take((count + 7) / 8));
    std::vector<bool> bits(count);
    for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
        const bool set = (bytes[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0};
        if (i < count) {
            bits[i] = set;
        } else if (set) {
            return malformed("bit beyond the last block");
        }
    }
    return bits;
}

void append_bitmap(ByteAppender& appender, const std::vector<bool>& bits) {
    for (std::size_t at = 0; at < bits.size(); at += 8) {
        std::uint8_t byte = 0;
        for (std::size_t bit = 0; bit < 8 && at + bit < bits.size(); ++bit) {
            byte = static_cast<std::uint8_t>(byte | (bits[at + bit] ? 1U << bit : 0U));
        }
        appender.u8(byte);
    }
}

bool range_is_valid(const Extents::Range& range, std::uint64_t after) noexcept {
    return range.offset >= after && range.length > 0 && range.offset % sector_bytes == 0 &&
           range.length % sector_bytes == 0 && range.offset < disk_bytes_max &&
           range.length <= disk_bytes_max - range.offset;
}

}  // namespace

ByteVector encode(const Hashes& hashes) {
    CW_ASSERT(blocks_are_valid(hashes.first_block, hashes.known.size()));
    CW_ASSERT(std::ranges::count(hashes.known, true) ==
              static_cast<std::ptrdiff_t>(hashes.fingerprints.size()));
    ByteVector out;
    ByteAppender appender(out);
    appender.u64(hashes.first_block);
    appender.u32(static_cast<std::uint32_t>(hashes.known.size()));
    append_bitmap(appender, hashes.known);
    for (const Fingerprint& fingerprint : hashes.fingerprints) {
        appender.bytes(fingerprint);
    }
    return out;
}

template <>
Result<Hashes> decode<Hashes>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Hashes hashes;
    CW_TRY_ASSIGN(hashes.first_block, reader.u64());
    CW_TRY_ASSIGN(const std::uint32_t count, reader.u32());
    if (!blocks_are_valid(hashes.first_block, count)) {
        return malformed("block range");
    }
    CW_TRY_ASSIGN(hashes.known, read_bitmap(reader, count));
    const auto known = static_cast<std::size_t>(std::ranges::count(hashes.known, true));
    hashes.fingerprints.reserve(known);
    for (std::size_t i = 0; i < known; ++i) {
        CW_TRY_ASSIGN(const Fingerprint fingerprint, reader.array<16>());
        hashes.fingerprints.push_back(fingerprint);
    }
    CW_TRY(expect_end(reader));
    return hashes;
}

ByteVector encode(const HashesRequest& request) {
    CW_ASSERT(blocks_are_valid(request.first_block, request.count));
    ByteVector out;
    ByteAppender appender(out);
    appender.u64(request.first_block);
    appender.u32(request.count);
    return out;
}

template <>
Result<HashesRequest> decode<HashesRequest>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    HashesRequest request;
    CW_TRY_ASSIGN(request.first_block, reader.u64());
    CW_TRY_ASSIGN(request.count, reader.u32());
    if (!blocks_are_valid(request.first_block, request.count)) {
        return malformed("block range");
    }
    CW_TRY(expect_end(reader));
    return request;
}

ByteVector encode(const Extents& extents) {
    CW_ASSERT(extents.ranges.size() <= extents_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u32(static_cast<std::uint32_t>(extents.ranges.size()));
    std::uint64_t after = 0;
    for (const Extents::Range& range : extents.ranges) {
        CW_ASSERT(range_is_valid(range, after));
        appender.u64(range.offset);
        appender.u64(range.length);
        after = range.offset + range.length;
    }
    return out;
}

template <>
Result<Extents> decode<Extents>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    CW_TRY_ASSIGN(const std::uint32_t count,
                  read_bounded<std::uint32_t>(reader, 0, extents_max, "range count"));
    Extents extents;
    extents.ranges.reserve(count);
    std::uint64_t after = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        Extents::Range range;
        CW_TRY_ASSIGN(range.offset, reader.u64());
        CW_TRY_ASSIGN(range.length, reader.u64());
        if (!range_is_valid(range, after)) {
            return malformed("range " + std::to_string(range.offset) + "+" +
                             std::to_string(range.length));
        }
        after = range.offset + range.length;
        extents.ranges.push_back(range);
    }
    CW_TRY(expect_end(reader));
    return extents;
}

}  // namespace cw::wire
