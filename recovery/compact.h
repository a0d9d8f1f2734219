// Compaction: writes what is visible of some segments into one new one. Chunks are opened and
// sealed again under the new segment's key; they are neither decompressed nor changed.
//
// The new segment is an orphan until the owner's publisher has named it (and dropped the old ones)
// in one manifest; if that never happens, GC deletes it.
#pragma once

#include "base/random.h"
#include "recovery/space.h"

namespace cw::recovery {

// Blocking; holds the new object (rewrite.alive_bytes and its index) in memory. The segment carries
// the epoch of the catalog's newest manifest and its newest data key. Errors: those of fetching,
// open_segment and put (unknown counts as failed); object_corrupt; cancelled.
Result<vault::SegmentRef> compact(blob::BlobStore& store, Fetcher& fetcher, const Catalog& catalog,
                                  const Rewrite& rewrite, Random& random);

}  // namespace cw::recovery
