// RecordBuilder: gathers captured writes into one WRITE or BASE record.
//
// Each extent's CRC-32C is made here, from the bytes as they came from the writer or the disk: it
// is the beginning of the end-to-end chain. Data goes into slabs at block-aligned positions.
// Thread-safety: none.
#pragma once

#include "pipeline/extent_table.h"

#include <vector>

namespace cw::agent {

class RecordBuilder {
public:
    explicit RecordBuilder(pipeline::SlabPool& pool) : pool_(pool) {}

    enum class Added : std::uint8_t {
        ok,
        full,       // close() first.
        no_memory,  // The pool is empty; nothing was added.
    };
    // 0 < length <= 4 MiB, both sector multiples. Runs of zeros become zero extents.
    Added add_write(std::uint64_t offset, Bytes data, WallMicros now);
    Added add_hole(std::uint64_t offset, std::uint32_t length, pipeline::ExtentOp op,
                   WallMicros now);

    [[nodiscard]] bool empty() const noexcept { return table_.extents.empty(); }
    [[nodiscard]] std::uint32_t extent_count() const noexcept {
        return static_cast<std::uint32_t>(table_.extents.size());
    }
    [[nodiscard]] std::uint32_t data_bytes() const noexcept { return data_bytes_; }

    // The record with its table written and checksummed; the builder is empty afterwards. The
    // caller sets key, type and sequence. !empty().
    pipeline::Record close();

private:
    [[nodiscard]] bool extents_full(WallMicros now) const noexcept;
    void append(pipeline::Extent extent, WallMicros now);
    bool take_slabs(std::uint32_t data_end);
    void copy_in(std::uint32_t position, Bytes data) noexcept;

    pipeline::SlabPool& pool_;
    pipeline::ExtentTable table_;
    pipeline::Record record_;
    std::uint32_t data_bytes_ = 0;  // Multiple of block_bytes.
};

}  // namespace cw::agent
