// GC of one machine: deletes segments that no manifest names and manifests below the boundary that
// the owner has published. It never appends to the chain and runs under its own identity, the only
// one that may delete.
//
// Safe against another collector at the same time: the note is changed only from what was read (by
// its etag), and what another one announced and may be deleting stays in it.
//
// Safe against a writer that is about to name what is being deleted: an object is deleted only
// after it has been seen unnamed for the grace time, the sweep has been written durably to
// control/gc, and the chain, read again after that, still does not name it. The writer reads the
// sweep after each manifest it creates and replaces what it lost (design: fencing).
#pragma once

#include "recovery/catalog.h"

#include <map>
#include <string>
#include <string_view>

namespace cw::recovery {

struct GcOptions {
    std::int64_t grace_us = (24 * 60 + 5) * 60'000'000LL;
    bool dry_run = true;
    std::size_t sweep_max = 4096;  // Segments per run, <= vault::sweep_attempts_max.
};

// Since when each unnamed segment has been seen by this collector. The store tells no reliable
// age, so the caller keeps this between runs; without it the grace begins anew, which is safe.
struct GcMemory {
    std::map<vault::SegmentName, WallMicros> unnamed_since;
};

// As text, one line per segment; what cannot be understood is left out, which is safe.
std::string to_text(const GcMemory& memory);
GcMemory parse_gc_memory(std::string_view text);

struct GcReport {
    std::uint64_t live_segments = 0, live_bytes = 0;
    std::uint64_t unnamed_segments = 0, unnamed_bytes = 0;  // Found, deleted or not.
    std::uint64_t deleted_segments = 0, deleted_bytes = 0;  // dry_run: would be.
    std::uint64_t deleted_manifests = 0;
    std::uint64_t rescued = 0;    // Named between the first look and the second.
    std::uint64_t immutable = 0;  // Under a retention lock: later.
};

// Blocking. Aborts at the first error of a list or of the store, having deleted only what was safe
// to delete. Errors: those of Catalog::open, list and remove; blob_conflict (another collector was
// faster: run again).
Result<GcReport> collect_garbage(blob::BlobStore& store, vault::KeyService& kek,
                                 const MachineId& machine, const vault::ServerSigner& signer,
                                 GcMemory& memory, const GcOptions& options, WallMicros now);

}  // namespace cw::recovery
