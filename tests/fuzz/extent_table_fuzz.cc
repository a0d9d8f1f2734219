// Extent tables as peers send them. What is accepted lies within the disk and the data, and is the
// only way to write it.
#include "base/assert.h"
#include "pipeline/extent_table.h"

#include <algorithm>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    constexpr std::size_t head_bytes = 12;
    if (size < head_bytes) {
        return 0;
    }
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    ByteReader reader(bytes, Errc::frame_malformed);
    const std::uint32_t data_blocks =
        *reader.u32() % (pipeline::record_data_bytes_max + 1) / block_bytes;
    const auto data_bytes = static_cast<std::uint32_t>(data_blocks * block_bytes);
    const std::uint64_t disk_bytes = *reader.u64() % (1ULL << 46);
    // Padded as on the wire, so that small inputs reach the entries.
    ByteVector table(align_up(std::max<std::size_t>(size - head_bytes, 1), block_bytes));
    std::ranges::copy(bytes.subspan(head_bytes), table.begin());
    const auto decoded = pipeline::read_extent_table(table, data_bytes, disk_bytes);
    if (!decoded) {
        return 0;
    }
    std::uint64_t data_end = 0;
    for (const pipeline::Extent& extent : decoded->extents) {
        CW_ASSERT(extent.length > 0 && extent.offset <= disk_bytes &&
                  extent.length <= disk_bytes - extent.offset);
        if (extent.op == pipeline::ExtentOp::write) {
            CW_ASSERT(extent.data_position >= data_end);
            data_end = extent.data_position + extent.length;
            CW_ASSERT(data_end <= data_bytes);
        }
    }
    ByteVector again(pipeline::extent_table_bytes(decoded->extents.size()));
    pipeline::write_extent_table(*decoded, again);
    CW_ASSERT(again == table);
    return 0;
}
