// causeway-replication/1 frames: a 40-byte header, then the payload. The spec is PROTOCOL.md.
//
//   0  u32 magic "CWF1"     4  u8 type      5  u8 flags (0)    6  u16 disk slot (order of HELLO;
//   0xffff: the machine)    8  u32 payload bytes (<= 8 MiB + table)    12 u32 table bytes (the part
//   of the payload before its data; multiple of 4096 for stored records)    16 u64 sequence
//   24 u32 session          28 u32 ordinal (BASE, RESYNC_*)     32 u32 CRC-32C of the table
//   part (control payloads: of all)    36 u32 CRC-32C of bytes 0..35
//
// Payloads of WRITE, BASE, POINT and POINT_RESULT are stored as they are: their formats are
// pipeline/extent_table.h and pipeline/point.h, opaque here. FLUSH and RESYNC_END have none. All
// others are messages of this room (messages.h), for which table bytes == payload bytes.
// Thread-safety: pure functions.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace cw::wire {

inline constexpr std::uint32_t frame_magic = 0x31465743;  // "CWF1"
inline constexpr std::size_t frame_header_bytes = 40;
inline constexpr std::uint32_t frame_table_bytes_max = 64 * 1024;
inline constexpr std::uint32_t frame_data_bytes_max = 8 * 1024 * 1024;
inline constexpr std::uint32_t control_payload_bytes_max = 1024 * 1024;
inline constexpr std::uint64_t frame_seq_max = 1ULL << 62;  // Room to add counts without wrapping.
inline constexpr std::uint16_t machine_slot = 0xffff;
inline constexpr std::uint16_t protocol_version = 1;

enum class FrameType : std::uint8_t {
    hello = 1,
    welcome = 2,
    write = 3,
    flush = 4,
    base = 5,
    extents = 6,
    mode = 7,
    point = 8,
    point_result = 9,
    point_status = 10,
    ack = 11,
    credit = 12,
    nak = 13,
    resync_begin = 14,
    hashes = 15,
    resync_end = 16,
    hashes_request = 17,
    resize = 18,
    ping = 19,
    pong = 20,
    error = 21,
    goodbye = 22,
    policy = 23,
    resync_required = 24,
    summaries_request = 25,
    summaries = 26,
};

struct FrameHeader {
    FrameType type{};
    std::uint16_t disk_slot = machine_slot;
    std::uint32_t payload_bytes = 0;
    std::uint32_t table_bytes = 0;
    Seq seq{};
    SessionId session{};
    std::uint32_t ordinal = 0;
    std::uint32_t table_crc = 0;

    [[nodiscard]] std::uint32_t data_bytes() const noexcept { return payload_bytes - table_bytes; }
};

// What a header of one type may say: the table of PROTOCOL.md, section 2, as the codec uses it.
// Lengths are of the table part; `data_max` bounds the rest.
enum class SlotRule : std::uint8_t { disk, machine };
enum class SeqRule : std::uint8_t { zero, positive, any };
struct FrameRule {
    FrameType type;
    std::string_view name;
    SlotRule slot;
    SeqRule seq;
    std::uint32_t table_min, table_max;
    std::uint32_t data_max = 0;
    bool stored = false;   // The payload lies in blocks, as the spool keeps it.
    bool ordinal = false;  // The ordinal field is used.
    bool session = true;   // The session field may be set.
};
// In the order of the types' numbers.
std::span<const FrameRule> frame_rules() noexcept;

// Asserts the bounds.
std::array<std::byte, frame_header_bytes> encode_frame_header(const FrameHeader& header);
// Checks magic, CRC, known type, zero flags and every length against the bounds of its type, so
// that whatever it returns is safe to allocate for. Errors: frame_malformed.
Result<FrameHeader> decode_frame_header(Bytes bytes);

// "WRITE"; "?" for a number that is no frame type.
std::string_view name_of(FrameType type) noexcept;

// The payload's checksum against the header's: `table` is all of a control payload, or the table
// part of a stored one. Errors: payload_corrupt.
Result<void> check_table(const FrameHeader& header, Bytes table);
// A whole control frame, ready to send. `header`'s lengths and checksum are filled in here.
ByteVector encode_control_frame(FrameHeader header, Bytes payload);

}  // namespace cw::wire
