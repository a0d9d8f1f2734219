#include "cache/payload_check.h"

#include "base/checksum.h"
#include "pipeline/extent_table.h"

#include <algorithm>
#include <limits>
#include <string>

namespace cw::cache {
namespace {

std::uint32_t crc_of_range(std::span<const Bytes> data, std::size_t piece_bytes,
                           std::uint32_t position, std::uint32_t length) {
    std::uint32_t crc = 0;
    while (length > 0) {
        const Bytes piece = data[position / piece_bytes];
        const std::size_t inside = position % piece_bytes;
        const std::size_t part = std::min<std::size_t>(length, piece.size() - inside);
        crc = crc32c(piece.subspan(inside, part), crc);
        position += static_cast<std::uint32_t>(part);
        length -= static_cast<std::uint32_t>(part);
    }
    return crc;
}

}  // namespace

Result<void> check_table(const pipeline::RecordHeader& header, Bytes table) {
    CW_ASSERT(table.size() == header.table_bytes);
    if (crc32c(table) != header.table_crc) {
        return fail(Errc::record_corrupt, "table checksum of " + to_string(header.key.disk) +
                                              " seq " + std::to_string(raw(header.seq)));
    }
    return {};
}

Result<void> check_payload(const pipeline::RecordHeader& header, Bytes table,
                           std::span<const Bytes> data, std::size_t piece_bytes) {
    CW_TRY(check_table(header, table));
    if (header.data_bytes == 0) {
        return {};
    }
    const auto parsed = pipeline::read_extent_table(table, header.data_bytes,
                                                    std::numeric_limits<std::uint64_t>::max());
    if (!parsed) {
        return fail(Errc::record_corrupt, "extent table: " + parsed.error().detail);
    }
    for (const pipeline::Extent& extent : parsed->extents) {
        if (extent.op == pipeline::ExtentOp::write &&
            crc_of_range(data, piece_bytes, extent.data_position, extent.length) != extent.crc) {
            return fail(Errc::record_corrupt, "data checksum of " + to_string(header.key.disk) +
                                                  " seq " + std::to_string(raw(header.seq)) +
                                                  " at " + std::to_string(extent.offset));
        }
    }
    return {};
}

}  // namespace cw::cache
