#include "recovery/point_diff.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_bytes = 16 * mib;  // Of the maps that are compared at a time.
constexpr std::uint64_t batch_bytes = 16 * mib;   // Read at a time: enough for all threads.

struct Range {
    std::uint64_t offset = 0, length = 0;
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; }
};

using Piece = LayerMap::Piece;

bool shows_same(const ImageReader& from, const Piece& before, const ImageReader& to,
                const Piece& after) {
    const bool zero = after.chunk == LayerMap::zero_chunk;
    if (zero || before.chunk == LayerMap::zero_chunk) {
        return zero && before.chunk == LayerMap::zero_chunk;
    }
    const MappedChunk &old = from.map().chunk(before.chunk), &now = to.map().chunk(after.chunk);
    return old.ordinal == now.ordinal &&
           from.segment(old.segment).name == to.segment(now.segment).name;
}

// In whole sectors; what meets the last range is joined with it.
void add(std::vector<Range>& ranges, std::uint64_t begin, std::uint64_t end) {
    begin -= begin % sector_bytes;
    end += (sector_bytes - end % sector_bytes) % sector_bytes;
    if (!ranges.empty() && begin <= ranges.back().end()) {
        ranges.back().length = std::max(end, ranges.back().end()) - ranges.back().offset;
    } else {
        ranges.push_back({begin, end - begin});
    }
}

std::vector<Range> differing(const ImageReader& from, const ImageReader& to) {
    std::vector<Range> out;
    for (std::uint64_t at = 0; at < to.size_bytes(); at += window_bytes) {
        const std::uint64_t length = std::min(window_bytes, to.size_bytes() - at);
        const auto before = from.map().pieces(at, length), after = to.map().pieces(at, length);
        auto old = before.begin();
        auto now = after.begin();
        for (std::uint64_t begin = at; begin < at + length;) {
            const std::uint64_t old_end = old->offset + old->length;
            const std::uint64_t now_end = now->offset + now->length;
            const std::uint64_t end = std::min(old_end, now_end);
            if (!shows_same(from, *old, to, *now)) {
                add(out, begin, end);
            }
            old += end == old_end ? 1 : 0;
            now += end == now_end ? 1 : 0;
            begin = end;
        }
    }
    return out;
}

// As many pieces, from `at` within `ranges` on, as one batch holds.
std::vector<Range> next_batch(const std::vector<Range>& ranges, std::size_t& index,
                              std::uint64_t& within) {
    std::vector<Range> batch;
    std::uint64_t total = 0;
    while (index < ranges.size() && total < batch_bytes) {
        const Range& range = ranges[index];
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

Result<void> read_batch(ImageReader& reader, const std::vector<Range>& batch, MutableBytes buffer) {
    std::vector<ImageReader::Wanted> wanted;
    std::size_t used = 0;
    for (const Range& piece : batch) {
        wanted.push_back({piece.offset, buffer.subspan(used, piece.length)});
        used += piece.length;
    }
    std::optional<Result<void>> result;
    reader.start(wanted, [&result](Result<void> done) { result.emplace(std::move(done)); });
    while (!result) {
        reader.wait(fetch_wait_slice_ns);
        reader.poll();
    }
    return *result;
}

}  // namespace

Result<PointDiffReport> diff_points(blob::BlobStore& store, const Catalog& catalog,
                                    const DiskAtPoint& from, const DiskAtPoint& to,
                                    const ReaderOptions& options, const DiffTake& take,
                                    const Progress& progress) {
    CW_ASSERT(from.disk == to.disk);
    if (from.size_bytes != to.size_bytes) {
        return fail(Errc::size_mismatch, "the disk had " + std::to_string(from.size_bytes) +
                                             " bytes at the first point, " +
                                             std::to_string(to.size_bytes) + " at the second");
    }
    if (to.size_bytes % sector_bytes != 0) {
        return fail(Errc::object_corrupt, "the disk is not whole sectors");
    }
    CW_TRY_ASSIGN(const auto old, ImageReader::open(store, catalog, from, options));
    CW_TRY_ASSIGN(const auto reader, ImageReader::open(store, catalog, to, options));
    const std::vector<Range> ranges = differing(*old, *reader);
    PointDiffReport report;
    const std::uint64_t map_bytes = reader->fetcher().bytes_fetched();
    report.index_bytes = old->fetcher().bytes_fetched() + map_bytes;
    std::uint64_t total = 0;
    for (const Range& range : ranges) {
        total += range.length;
    }
    ByteVector buffer(std::min(total, batch_bytes));
    std::uint64_t within = 0;
    for (std::size_t index = 0; index < ranges.size();) {
        const std::vector<Range> batch = next_batch(ranges, index, within);
        CW_TRY(read_batch(*reader, batch, buffer));
        Bytes left = buffer;
        for (const Range& piece : batch) {
            CW_TRY(take(piece.offset, left.first(piece.length)));
            left = left.subspan(piece.length);
            report.differing_bytes += piece.length;
        }
        progress(report.differing_bytes, total);
    }
    report.fetched_bytes = reader->fetcher().bytes_fetched() - map_bytes;
    return report;
}

}  // namespace cw::recovery
