// Space: what of a machine's segments nothing needs any more, and what is worth writing again.
//
// A chunk is needed exactly if it is visible at the first cut at or after its sequence that someone
// keeps (a retained point, a child history's beginning, the newest state): what was overwritten
// before that cut is hidden at every later one too. So segments are judged in *stretches* between
// two neighbouring cuts, each from its own indexes alone. The stretch after the last cut still
// grows and is left alone.
//
// Thread-safety: none.
#pragma once

#include "recovery/catalog.h"
#include "recovery/fetcher.h"

#include <functional>
#include <set>
#include <tuple>
#include <vector>

namespace cw::recovery {

struct SpaceOptions {
    std::size_t stretch_segments_max = 512;  // Larger ones are judged in parts.
    std::size_t segments_max = 4096;         // Indexes read by one plan.
    // A segment is small below this: many of them are gathered even if all of them are alive.
    std::uint64_t small_bytes = 4 * mib;
    std::size_t gather_min = 8;             // That many small neighbours are worth one object.
    std::uint64_t rewrite_bytes = 8 * mib;  // Of stored chunks in one new segment,
    std::uint64_t rewrite_chunks = 65536;   // and how many.
    std::function<bool()> cancelled = {};   // Asked while waiting. May be empty.
};

// Segments of one stretch to be replaced by one that holds what is visible of them. Neighbours by
// sequence, so that the order of layers stays what it was; base segments of one fence.
struct Rewrite {
    std::vector<const vault::SegmentRef*> from;
    std::vector<std::vector<bool>> visible;  // Per segment of `from`, per ordinal.
    std::uint64_t alive_bytes = 0, dead_bytes = 0;
    std::uint64_t chunks = 0;  // At most.
};

struct SpacePlan {
    std::vector<vault::SegmentName> dead;  // Nothing of them is needed.
    std::vector<Rewrite> rewrites;         // Pointers into the catalog.
    std::uint64_t dead_bytes = 0;
    std::size_t stretches_read = 0;
    bool more = false;  // segments_max was reached.
};

// Which stretches were judged in vain, so that they are not read again until they change. Kept by
// the caller between plans; losing it costs reads, nothing else.
struct SpaceMemory {
    // Disk, generation, first and last sequence of the part, segments in it.
    using Stretch = std::tuple<DiskId, Generation, Seq, Seq, std::size_t>;
    std::set<Stretch> settled;
};

// What can go once the points in `pruned` are gone. Blocking. Errors: those of fetching and
// open_segment; cancelled. A segment that cannot be read stops the plan: nothing is dropped on a
// guess.
Result<SpacePlan> plan_space(Fetcher& fetcher, const Catalog& catalog,
                             const std::set<PointId>& pruned, SpaceMemory& memory,
                             const SpaceOptions& options);

}  // namespace cw::recovery
