// The extent table: the head of every write and base payload.
//
//   0  u32 magic "CWX1"    4  u32 count (1..max_extents)    8  i64 base time, wall µs at the source
//   then per extent 32 bytes:
//   0  u64 offset on the disk, bytes        8  u32 length, bytes (> 0, sector multiple, <= 8 MiB)
//   12 u32 op (0 write, 1 zero, 2 discard)  16 u32 data position in the record's data (block
//   multiple; 0 for zero and discard)       20 u32 CRC-32C of the raw bytes (0 for zero, discard)
//   24 u32 µs after base time               28 u32 zero
//   then zeros to a multiple of block_bytes.
//
// The CRC of each extent is end to end: made by the agent from what it read or was written, checked
// on receipt and again before the transform.
#pragma once

#include "base/clock.h"
#include "pipeline/record.h"

#include <vector>

namespace cw::pipeline {

enum class ExtentOp : std::uint8_t { write = 0, zero = 1, discard = 2 };

// One captured write; sequence = header.seq + its index.
struct Extent {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    ExtentOp op = ExtentOp::write;
    std::uint32_t data_position = 0;
    std::uint32_t crc = 0;
    std::uint32_t time_delta_us = 0;
};

inline constexpr std::uint32_t extent_table_magic = 0x31585743;  // "CWX1"
inline constexpr std::size_t extent_entry_bytes = 32, extent_table_head_bytes = 16;
inline constexpr std::uint32_t extents_per_record_max =
    (table_bytes_max - extent_table_head_bytes) / extent_entry_bytes;
inline constexpr std::uint32_t extent_length_max = record_data_bytes_max;

struct ExtentTable {
    WallMicros base_time{};
    std::vector<Extent> extents;
};

// The table's size on the wire and disk: a multiple of block_bytes.
std::uint32_t extent_table_bytes(std::size_t extent_count) noexcept;
// Writes into `out`, whose size is extent_table_bytes(count). Asserts the bounds above.
void write_extent_table(const ExtentTable& table, MutableBytes out);
// Checks every field against its bounds, `data_bytes`, and `disk_bytes` (offset + length within the
// disk; pass UINT64_MAX where the size is not known). Data positions ascend without overlap.
// Errors: frame_malformed, size_mismatch.
Result<ExtentTable> read_extent_table(Bytes table, std::uint32_t data_bytes,
                                      std::uint64_t disk_bytes);
// Checks each write extent's CRC against the record's data. Errors: payload_corrupt.
Result<void> check_extents(const Record& record, const ExtentTable& table);

}  // namespace cw::pipeline
