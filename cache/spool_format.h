// The bytes of the spool file: superblock, batch headers, checkpoints. FORMAT.md is the spec.
//
// Every structure starts with a magic and a version, carries the spool's id and its own place, and
// is guarded by CRC-32C; decoding checks every field, so that whatever it returns is safe to
// follow. Pure functions.
#pragma once

#include "base/ids.h"
#include "cache/stream_table.h"
#include "pipeline/record.h"

#include <cstdint>
#include <vector>

namespace cw::cache {

using pipeline::Lsn;

inline constexpr std::uint16_t spool_format_version = 1;
inline constexpr std::size_t batch_records_max = 512;
// Numbers that only count up (batches, epochs, LSNs, generations) stay below this: a reader refuses
// more, so that counting on can never wrap.
inline constexpr std::uint64_t counter_max = 1ULL << 62;
inline constexpr std::size_t batch_head_bytes = 96, batch_record_bytes = 96;
inline constexpr std::uint32_t batch_header_bytes_max =
    align_up(batch_head_bytes + batch_records_max * batch_record_bytes, block_bytes);

// The file's identity and geometry; in two copies, written once.
struct Superblock {
    SpoolId id;
    std::uint64_t size_bytes = 0;    // Of spool.log; multiple of region_bytes.
    std::uint64_t region_bytes = 0;  // Multiple of block_bytes.
    friend bool operator==(const Superblock&, const Superblock&) = default;

    // Region 0 holds superblocks and checkpoints; records lie in regions 1 … count - 1.
    [[nodiscard]] std::uint32_t region_count() const noexcept {
        return static_cast<std::uint32_t>(size_bytes / region_bytes);
    }
    [[nodiscard]] std::uint64_t region_start(std::uint32_t region) const noexcept {
        return region * region_bytes;
    }
    // Two copies, far apart; each is followed by its checkpoint slot.
    [[nodiscard]] std::uint64_t copy_offset(unsigned copy) const noexcept {
        return copy * align_up(region_bytes / 2, block_bytes);
    }
    [[nodiscard]] std::uint64_t slot_offset(unsigned copy) const noexcept {
        return copy_offset(copy) + block_bytes;
    }
    [[nodiscard]] std::uint64_t slot_bytes() const noexcept {
        return region_bytes / 2 / block_bytes * block_bytes - block_bytes;
    }
};

void encode_superblock(const Superblock& block, MutableBytes out);  // out: one block
// Errors: spool_tampered, format_unsupported.
Result<Superblock> decode_superblock(Bytes block);

// One record's entry in its batch header.
struct BatchRecord {
    Lsn lsn{};
    bool moved = false;  // Copied forward out of an old region; keeps its LSN.
    RecordHeader header;
};

// The head of one atomic append: header blocks, then all tables, then all data.
struct BatchHeader {
    SpoolId spool;
    std::uint64_t offset = 0;           // Its own, in the file: tells misdirected writes.
    std::uint64_t epoch = 0;            // Of the region's current use: tells stale content.
    std::uint64_t number = 0;           // Gapless from 1 over the whole spool.
    std::uint64_t durable_through = 0;  // Every batch up to this number was on stable storage.
    std::uint64_t moved_before = 0;     // Lowest LSN moved by batch number - 1; 0: none.
    std::vector<BatchRecord> records;   // 1 … batch_records_max.

    [[nodiscard]] std::uint32_t header_bytes() const noexcept;
    [[nodiscard]] std::uint64_t tables_bytes() const noexcept;
    [[nodiscard]] std::uint64_t total_bytes() const noexcept;
};

constexpr std::uint64_t payload_bytes(const RecordHeader& header) noexcept {
    return std::uint64_t{header.table_bytes} + header.data_bytes;
}
constexpr std::uint32_t batch_header_bytes(std::size_t record_count) noexcept {
    return static_cast<std::uint32_t>(
        align_up(batch_head_bytes + record_count * batch_record_bytes, block_bytes));
}
// Lengths within bounds and block multiples, known type, sequence and count fit the type.
bool record_header_valid(const RecordHeader& header) noexcept;

// `out` has header_bytes(). Asserts validity.
void encode_batch_header(const BatchHeader& header, MutableBytes out);
// How many bytes decode_batch_header needs, told by the first block. Errors: record_corrupt.
Result<std::uint32_t> peek_batch_header_bytes(Bytes first_block);
// What the first block of a header says of itself; not proven, the CRC covers the whole header.
struct BatchHeaderStart {
    SpoolId spool;
    std::uint64_t offset = 0, epoch = 0, number = 0;
    std::uint32_t header_bytes = 0;
};
// Errors: record_corrupt, format_unsupported.
Result<BatchHeaderStart> peek_batch_header(Bytes first_block);
// Errors: record_corrupt, format_unsupported.
Result<BatchHeader> decode_batch_header(Bytes header_blocks);

enum class RegionState : std::uint8_t {
    free = 0,
    next = 1,    // Named in a checkpoint as the next to be written, before its first batch.
    open = 2,    // Being written.
    sealed = 3,  // Holds batches first … end - 1, nothing more.
};
struct RegionEntry {
    RegionState state = RegionState::free;
    std::uint64_t epoch = 0;  // Of the latest use; grows over the whole spool.
    std::uint64_t first_batch = 0, end_batch = 0;
    friend bool operator==(const RegionEntry&, const RegionEntry&) = default;
};

// What a restart needs beyond the batches themselves.
// Reported and not repaired yet: the highest sequence of each history, 0 when only the place was
// known. The nil key: it is not known whose it was.
using Losses = std::map<StreamKey, Seq>;

struct Checkpoint {
    SpoolId spool;
    std::uint64_t generation = 0;       // Grows by one; slot = generation % 2.
    std::uint64_t durable_through = 0;  // Batch number.
    std::uint64_t next_batch = 1;
    std::uint64_t epoch = 0;  // Highest region epoch given out.
    Lsn next_lsn{1};
    Lsn released_below{};              // Records below are not needed any more.
    std::vector<RegionEntry> regions;  // Index = region; 0 unused.
    std::map<StreamKey, StreamView> streams;
    Losses losses{};  // The regions that showed them may be in use again.
};

// At most `max` bytes: when the super-chunk ranges of open fences do not fit, they are left out,
// which only makes agents send those again; when the losses do not fit either, one whose owner is
// not known stands for them. Empty when even that does not fit.
ByteVector encode_checkpoint(const Checkpoint& checkpoint, std::size_t max);
// Reads a whole slot. Errors: record_corrupt (also: never written), format_unsupported.
Result<Checkpoint> decode_checkpoint(Bytes slot);
// The bytes that decode_checkpoint needs, told by the first block. Errors: record_corrupt.
Result<std::uint32_t> peek_checkpoint_bytes(Bytes first_block);

}  // namespace cw::cache
