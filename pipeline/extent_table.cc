#include "pipeline/extent_table.h"

#include "base/checksum.h"

#include <algorithm>

namespace cw::pipeline {
namespace {

std::string place(std::size_t index, const char* what) {
    return "extent " + std::to_string(index) + ": " + what;
}

// What must hold of one extent whatever comes before it.
Result<void> check_bounds(const Extent& extent, std::size_t index, std::uint64_t disk_bytes) {
    if (extent.length == 0 || extent.length > extent_length_max ||
        extent.length % sector_bytes != 0) {
        return fail(Errc::frame_malformed, place(index, "length"));
    }
    if (extent.offset % sector_bytes != 0) {
        return fail(Errc::frame_malformed, place(index, "offset is not a sector multiple"));
    }
    if (extent.offset > disk_bytes || extent.length > disk_bytes - extent.offset) {
        return fail(Errc::size_mismatch, place(index, "beyond the end of the disk"));
    }
    return {};
}

// `data_end` is the first free data position; moved behind this extent.
Result<void> check_data(const Extent& extent, std::size_t index, std::uint32_t data_bytes,
                        std::uint32_t& data_end) {
    if (extent.op != ExtentOp::write) {
        if (extent.data_position != 0 || extent.crc != 0) {
            return fail(Errc::frame_malformed, place(index, "zero or discard with data"));
        }
        return {};
    }
    if (extent.data_position % block_bytes != 0 || extent.data_position < data_end ||
        extent.data_position > data_bytes || extent.length > data_bytes - extent.data_position) {
        return fail(Errc::frame_malformed, place(index, "data position"));
    }
    data_end = extent.data_position + extent.length;
    return {};
}

Result<Extent> read_entry(ByteReader& in, std::size_t index) {
    Extent extent;
    CW_TRY_ASSIGN(extent.offset, in.u64());
    CW_TRY_ASSIGN(extent.length, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t op, in.u32());
    CW_TRY_ASSIGN(extent.data_position, in.u32());
    CW_TRY_ASSIGN(extent.crc, in.u32());
    CW_TRY_ASSIGN(extent.time_delta_us, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t reserved, in.u32());
    if (op > static_cast<std::uint32_t>(ExtentOp::discard) || reserved != 0) {
        return fail(Errc::frame_malformed, place(index, "unknown operation or reserved field"));
    }
    extent.op = static_cast<ExtentOp>(op);
    return extent;
}

// The CRC of [position, position + length) of the record's data, which may cross slabs.
std::uint32_t data_crc(const Record& record, std::uint32_t position, std::uint32_t length) {
    std::uint32_t crc = 0;
    while (length > 0) {
        const auto room = static_cast<std::uint32_t>(slab_bytes - position % slab_bytes);
        const std::uint32_t step = std::min(length, room);
        crc = crc32c(record.data_in_slab(position, step), crc);
        position += step;
        length -= step;
    }
    return crc;
}

}  // namespace

std::uint32_t extent_table_bytes(std::size_t extent_count) noexcept {
    CW_ASSERT(extent_count >= 1 && extent_count <= extents_per_record_max);
    const std::size_t used = extent_table_head_bytes + extent_count * extent_entry_bytes;
    return static_cast<std::uint32_t>(align_up(used, block_bytes));
}

void write_extent_table(const ExtentTable& table, MutableBytes out) {
    CW_ASSERT(out.size() == extent_table_bytes(table.extents.size()));
    ByteWriter writer(out);
    writer.u32(extent_table_magic);
    writer.u32(static_cast<std::uint32_t>(table.extents.size()));
    writer.u64(static_cast<std::uint64_t>(raw(table.base_time)));
    std::uint32_t data_end = 0;
    for (const Extent& extent : table.extents) {
        const std::size_t index = static_cast<std::size_t>(&extent - table.extents.data());
        CW_ASSERT(check_bounds(extent, index, UINT64_MAX).has_value());
        CW_ASSERT(check_data(extent, index, record_data_bytes_max, data_end).has_value());
        writer.u64(extent.offset);
        writer.u32(extent.length);
        writer.u32(raw(extent.op));
        writer.u32(extent.data_position);
        writer.u32(extent.crc);
        writer.u32(extent.time_delta_us);
        writer.u32(0);
    }
    writer.zeros(writer.remaining());
}

Result<ExtentTable> read_extent_table(Bytes table, std::uint32_t data_bytes,
                                      std::uint64_t disk_bytes) {
    ByteReader in(table, Errc::frame_malformed);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t count, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t base_time, in.u64());
    if (magic != extent_table_magic) {
        return fail(Errc::frame_malformed, "extent table magic");
    }
    if (count == 0 || count > extents_per_record_max || table.size() != extent_table_bytes(count)) {
        return fail(Errc::frame_malformed, "extent count " + std::to_string(count) +
                                               " in a table of " + std::to_string(table.size()) +
                                               " bytes");
    }
    ExtentTable out;
    out.base_time = WallMicros{static_cast<std::int64_t>(base_time)};
    out.extents.reserve(count);
    std::uint32_t data_end = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(const Extent extent, read_entry(in, i));
        CW_TRY(check_bounds(extent, i, disk_bytes));
        CW_TRY(check_data(extent, i, data_bytes, data_end));
        out.extents.push_back(extent);
    }
    CW_TRY_ASSIGN(const Bytes padding, in.take(in.remaining()));
    if (!all_zero(padding)) {
        return fail(Errc::frame_malformed, "extent table padding is not zero");
    }
    return out;
}

Result<void> check_extents(const Record& record, const ExtentTable& table) {
    for (std::size_t i = 0; i < table.extents.size(); ++i) {
        const Extent& extent = table.extents[i];
        if (extent.op == ExtentOp::write &&
            data_crc(record, extent.data_position, extent.length) != extent.crc) {
            return fail(Errc::payload_corrupt,
                        place(i, "CRC-32C") + " at disk offset " + std::to_string(extent.offset));
        }
    }
    return {};
}

}  // namespace cw::pipeline
