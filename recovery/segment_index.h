// Opening a segment: fetch its header, index and trailer and believe nothing that does not match
// the manifest.
#pragma once

#include "egress/vault/segment.h"
#include "recovery/catalog.h"
#include "recovery/fetcher.h"

#include <memory>
#include <vector>

namespace cw::recovery {

struct OpenSegment {
    const vault::SegmentRef* ref = nullptr;
    std::unique_ptr<vault::SegmentCrypto> crypto;
    std::vector<vault::Chunk> chunks;  // In ordinal order.
};

// Fetches and opens `ref`, which belongs to `catalog` and outlives the call; `done` runs inside a
// poll() of `fetcher`. Errors: those of fetch; object_corrupt and key_unavailable with the name.
void open_segment(Fetcher& fetcher, const Catalog& catalog, const vault::SegmentRef& ref,
                  blob::Done<Result<OpenSegment>> done);

// `error` with the object's name in front of its evidence, unless it is there already.
Error about(const vault::SegmentName& name, Error error);
// The same, and which points it concerns when the object is damaged or gone.
Error blame(const Catalog& catalog, const vault::SegmentName& name, Error error);

}  // namespace cw::recovery
