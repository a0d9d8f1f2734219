#include "recovery/point_diff.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t batch_bytes = 16 * mib;  // Read at a time: enough for all threads.

// As many pieces, from `at` within `ranges` on, as one batch holds.
std::vector<ByteRange> next_batch(const std::vector<ByteRange>& ranges, std::size_t& index,
                                  std::uint64_t& within) {
    std::vector<ByteRange> batch;
    std::uint64_t total = 0;
    while (index < ranges.size() && total < batch_bytes) {
        const ByteRange& range = ranges[index];
        const std::uint64_t length = std::min(
            {range.length - within, batch_bytes - total, std::uint64_t{diff_piece_bytes_max}});
        batch.push_back({range.offset + within, length});
        total += length;
        within += length;
        if (within == range.length) {
            ++index;
            within = 0;
        }
    }
    return batch;
}

Result<void> read_batch(Image& image, const std::vector<ByteRange>& batch, MutableBytes buffer) {
    std::vector<Image::Wanted> wanted;
    std::size_t used = 0;
    for (const ByteRange& piece : batch) {
        wanted.push_back({piece.offset, buffer.subspan(used, piece.length)});
        used += piece.length;
    }
    return image.read(wanted);
}

}  // namespace

Result<PointDiffReport> diff_points(const PointSource& source, const PointPair& pair,
                                    const ReaderOptions& options, const DiffTake& take,
                                    const Progress& progress) {
    const DiskAtPoint &from = pair.from.disk, &to = pair.to.disk;
    CW_ASSERT(from.disk == to.disk);
    if (from.size_bytes != to.size_bytes) {
        return fail(Errc::size_mismatch, "the disk had " + std::to_string(from.size_bytes) +
                                             " bytes at the first point, " +
                                             std::to_string(to.size_bytes) + " at the second");
    }
    if (to.size_bytes % sector_bytes != 0) {
        return fail(Errc::object_corrupt, "the disk is not whole sectors");
    }
    CW_TRY_ASSIGN(const auto changes, source.changes(pair.from, pair.to, options));
    const std::vector<ByteRange>& ranges = changes.ranges;
    PointDiffReport report;
    const std::uint64_t map_bytes = changes.image->fetched_bytes();
    report.index_bytes = changes.index_bytes;
    std::uint64_t total = 0;
    for (const ByteRange& range : ranges) {
        total += range.length;
    }
    ByteVector buffer(std::min(total, batch_bytes));
    std::uint64_t within = 0;
    for (std::size_t index = 0; index < ranges.size();) {
        const std::vector<ByteRange> batch = next_batch(ranges, index, within);
        CW_TRY(read_batch(*changes.image, batch, buffer));
        Bytes left = buffer;
        for (const ByteRange& piece : batch) {
            CW_TRY(take(piece.offset, left.first(piece.length)));
            left = left.subspan(piece.length);
            report.differing_bytes += piece.length;
        }
        progress(report.differing_bytes, total);
    }
    report.fetched_bytes = changes.image->fetched_bytes() - map_bytes;
    return report;
}

}  // namespace cw::recovery
