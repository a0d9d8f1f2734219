// PointDiff: what a disk holds at one point and not at another.
//
// Where it may differ the source tells (PointSource::changes()). That is read as it is at the
// second point; it may hold bytes that were written again as they were.
#pragma once

#include "recovery/image_writer.h"
#include "recovery/point_source.h"

#include <functional>

namespace cw::recovery {

struct PointDiffReport {
    std::uint64_t differing_bytes = 0;  // Of the disk: what `take` was given.
    std::uint64_t index_bytes = 0;      // From the vault: the maps.
    std::uint64_t fetched_bytes = 0;    // From the vault: what differs, as stored.
};

inline constexpr std::size_t diff_piece_bytes_max = 1 * mib;
using DiffTake = std::function<Result<void>(std::uint64_t offset, Bytes data)>;

// Of one disk.
struct PointPair {
    PointDisk from, to;
};

// Gives `take` what `to` holds where it may differ from `from`: whole sectors, at most
// diff_piece_bytes_max at a time, in ascending order. Both are of one disk, and of the source.
// Blocking. Errors: size_mismatch (the disk was resized between them); those of the source; those
// of `take`.
Result<PointDiffReport> diff_points(const PointSource& source, const PointPair& pair,
                                    const ReaderOptions& options, const DiffTake& take,
                                    const Progress& progress);

}  // namespace cw::recovery
