// Record: what a protected machine said, as it travels ingest → cache → pipeline and as it lies in
// the spool. A record's payload is stored as it was received; this header and extent_table.h,
// point.h define those payloads (wire frames of the same types carry exactly these bytes).
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "pipeline/slab.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>

namespace cw::pipeline {

enum class RecordType : std::uint8_t {
    write = 1,         // Extent table + data; consumes one sequence per extent.
    base = 2,          // Extent table + data of one super-chunk, beneath writes after `fence`.
    point = 3,         // Recovery-point barrier (point.h). Consumes no sequence.
    resync_begin = 4,  // Consumes one sequence: the fence S0.
    resync_end = 5,    // Consumes one sequence; points with cut at or above it are valid again.
    flush = 6,         // Position of a guest flush. Consumes no sequence.
    resize = 7,        // New size in `aux`; consumes one sequence.
    point_result = 8,  // Outcome of a group point (point.h). Consumes no sequence.
};

inline constexpr std::uint32_t super_chunk_bytes = 4 * 1024 * 1024;
inline constexpr std::uint32_t table_bytes_max = 64 * 1024;
inline constexpr std::uint32_t record_data_bytes_max = slab_bytes * slabs_per_record_max;

// Identifies one history: sequences are gapless within it.
struct StreamKey {
    MachineId machine;
    DiskId disk;  // Nil for records of the whole machine (point, point_result).
    Generation generation{};
    friend auto operator<=>(const StreamKey&, const StreamKey&) = default;
};

// The fixed part of a record; little-endian fields of the same widths in the spool and on the wire.
struct RecordHeader {
    StreamKey key;
    RecordType type{};
    SessionId session{};
    // write: sequence of the first extent. base: the fence S0. resync_*, resize: their sequence.
    // point, flush: the highest sequence sent before it on this disk (point: 0, see its cut).
    Seq seq{};
    std::uint32_t seq_count = 0;    // Sequences consumed; 0 for base, point, flush, point_result.
    std::uint32_t ordinal = 0;      // base: super-chunk index on the disk. resync_end: how many of
                                    // them lie beneath it. resync_begin: see fence.h.
    std::uint64_t aux = 0;          // The disk's size and the kind of a resync: see below.
    std::uint32_t table_bytes = 0;  // Multiple of block_bytes, <= table_bytes_max. Control payloads
                                    // (point …) lie here, zero-padded.
    std::uint32_t data_bytes = 0;   // Multiple of block_bytes, <= record_data_bytes_max.
    std::uint32_t table_crc = 0;    // CRC-32C of the table block as received.
};

// What `aux` tells of the disk, so that the log alone is enough to publish what it holds: its size
// in bytes, with every write, base, resync_begin and resync_end (0: a log older than this) and, as
// the new one, with resize. Sizes are multiples of sectors: the bits below hold resync_begin's
// kind.
constexpr std::uint64_t disk_size_of(const RecordHeader& header) noexcept {
    return header.aux & ~(sector_bytes - 1);
}
constexpr std::uint64_t resync_kind_of(const RecordHeader& header) noexcept {
    return header.aux & (sector_bytes - 1);
}

// 4 KiB-aligned heap memory for tables; small next to the slabs, bounded by table_bytes_max each.
class TableBuffer {
public:
    TableBuffer() = default;
    explicit TableBuffer(std::size_t bytes);  // Zeroed; multiple of block_bytes.
    [[nodiscard]] MutableBytes bytes() const noexcept { return {data_.get(), size_}; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

private:
    struct Free {
        void operator()(std::byte* p) const noexcept;
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t size_ = 0;
};

// Move-only; owns its payload. `slabs` holds data_bytes contiguously from slab 0; only the last one
// may be partly used. A stored record may come without its payload (has_data() false): it is then
// read back from the spool.
struct Record {
    RecordHeader header;
    Nanos received{};  // When its last byte arrived here.
    TableBuffer table;
    std::array<Slab, slabs_per_record_max> slabs;

    [[nodiscard]] std::size_t slab_count() const noexcept {
        return (header.data_bytes + slab_bytes - 1) / slab_bytes;
    }
    [[nodiscard]] bool has_data() const noexcept {
        return header.data_bytes == 0 || static_cast<bool>(slabs[0]);
    }
    void drop_data() noexcept {
        for (Slab& slab : slabs) {
            slab.reset();
        }
    }
    // The bytes [offset, offset + length) of the data; they must lie within one slab.
    [[nodiscard]] Bytes data_in_slab(std::uint32_t offset, std::uint32_t length) const noexcept {
        CW_ASSERT(length <= slab_bytes - offset % slab_bytes &&
                  offset + length <= header.data_bytes);
        return slabs[offset / slab_bytes].bytes().subspan(offset % slab_bytes, length);
    }
};

// Position of a record in the spool: opaque outside cache/, ordered by append. Unique for the life
// of a spool file; 0 is none.
enum class Lsn : std::uint64_t {};

// A record that is on stable storage.
struct StoredRecord {
    Lsn lsn{};
    Record record;
};

}  // namespace cw::pipeline
