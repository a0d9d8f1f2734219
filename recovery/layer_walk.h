// Every segment a cut can see, newest layer first: what building a map of a disk, or a table of its
// fingerprints, begins with.
#pragma once

#include "recovery/layer_map.h"
#include "recovery/segment_index.h"

#include <functional>

namespace cw::recovery {

struct WalkOptions {
    std::size_t ahead = 8;                 // Indexes fetched before they are needed; >= 1.
    std::function<bool()> cancelled = {};  // Asked while waiting. May be empty.
};

// Calls `take` for each layer in order_layers()' order, until it says false. No chunk is read.
// Blocking; `fetcher` may still have requests under way when it returns. Errors: those of
// segments_of() and open_segment(), with the points concerned; cancelled; those of `take`.
Result<void> walk_layers(
    Fetcher& fetcher, const Catalog& catalog, const vault::PointEntry::Cut& cut,
    const WalkOptions& options,
    const std::function<Result<bool>(OpenSegment segment, const Layer& layer)>& take);

}  // namespace cw::recovery
