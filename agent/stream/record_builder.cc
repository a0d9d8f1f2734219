#include "agent/stream/record_builder.h"

#include "base/checksum.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cw::agent {

using pipeline::Extent;
using pipeline::ExtentOp;
using pipeline::slab_bytes;

RecordBuilder::Added RecordBuilder::add_write(std::uint64_t offset, Bytes data, WallMicros now) {
    CW_ASSERT(!data.empty() && data.size() <= 4 * mib && data.size() % sector_bytes == 0);
    const auto length = static_cast<std::uint32_t>(data.size());
    if (all_zero(data)) {
        return add_hole(offset, length, ExtentOp::zero, now);
    }
    const auto room = static_cast<std::uint32_t>(align_up(length, block_bytes));
    if (extents_full(now) || data_bytes_ + room > pipeline::record_data_bytes_max) {
        return Added::full;
    }
    if (!take_slabs(data_bytes_ + room)) {
        return Added::no_memory;
    }
    copy_in(data_bytes_, data);
    append({.offset = offset,
            .length = length,
            .op = ExtentOp::write,
            .data_position = data_bytes_,
            .crc = crc32c(data)},
           now);
    data_bytes_ += room;
    return Added::ok;
}

RecordBuilder::Added RecordBuilder::add_hole(std::uint64_t offset, std::uint32_t length,
                                             ExtentOp op, WallMicros now) {
    CW_ASSERT(op != ExtentOp::write && length > 0 && length <= pipeline::extent_length_max);
    if (extents_full(now)) {
        return Added::full;
    }
    append({.offset = offset, .length = length, .op = op}, now);
    return Added::ok;
}

pipeline::Record RecordBuilder::close() {
    CW_ASSERT(!empty());
    pipeline::Record record = std::exchange(record_, {});
    const std::uint32_t bytes = pipeline::extent_table_bytes(table_.extents.size());
    record.table = pipeline::TableBuffer(bytes);
    pipeline::write_extent_table(table_, record.table.bytes());
    record.header.table_bytes = bytes;
    record.header.data_bytes = data_bytes_;
    record.header.table_crc = crc32c(record.table.bytes());
    table_.extents.clear();
    data_bytes_ = 0;
    return record;
}

bool RecordBuilder::extents_full(WallMicros now) const noexcept {
    // Time deltas have 32 bits of microseconds: 71 minutes.
    return table_.extents.size() == pipeline::extents_per_record_max ||
           (!empty() && raw(now) - raw(table_.base_time) > std::int64_t{UINT32_MAX});
}

void RecordBuilder::append(Extent extent, WallMicros now) {
    if (empty()) {
        table_.base_time = now;
    }
    // A wall clock may step back; the order is the sequence, not the time.
    extent.time_delta_us =
        static_cast<std::uint32_t>(std::max<std::int64_t>(0, raw(now) - raw(table_.base_time)));
    table_.extents.push_back(extent);
}

bool RecordBuilder::take_slabs(std::uint32_t data_end) {
    const std::size_t needed = (data_end + slab_bytes - 1) / slab_bytes;
    for (std::size_t i = 0; i < needed; ++i) {
        if (!record_.slabs[i]) {
            record_.slabs[i] = pool_.try_take();
        }
        if (!record_.slabs[i]) {
            return false;  // Those taken already serve the next extent, or go home with the record.
        }
    }
    return true;
}

void RecordBuilder::copy_in(std::uint32_t position, Bytes data) noexcept {
    while (!data.empty()) {
        const std::size_t at = position % slab_bytes;
        const std::size_t step = std::min(data.size(), slab_bytes - at);
        std::memcpy(record_.slabs[position / slab_bytes].data() + at, data.data(), step);
        position += static_cast<std::uint32_t>(step);
        data = data.subspan(step);
    }
    // The tail of the last block is sent too: it must not carry what the slab held before.
    if (const std::size_t tail = position % block_bytes; tail != 0) {
        std::memset(record_.slabs[position / slab_bytes].data() + position % slab_bytes, 0,
                    block_bytes - tail);
    }
}

}  // namespace cw::agent
