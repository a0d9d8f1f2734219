// What of a chain somebody may have been told of.
//
// A writer may sleep between storing a segment and naming it, for longer than garbage collection
// waits, and die before it has read the note that tells of the collection. It reads that note after
// each manifest and tells nobody of the manifest before. So when a segment that the newest manifest
// names is announced and gone, nobody was told of that manifest: whoever was told of one found its
// segments unannounced, and then every collector sees them named before it deletes anything. What
// was told of is the state before it. Whoever reads points and whoever deletes segments must stand
// on that: the manifest may have dropped what told points were made of, for what is gone now
// (compaction). Whoever opens the machine next takes it back.
//
// Blocking.
#pragma once

#include "egress/vault/control.h"
#include "egress/vault/manifest.h"

#include <set>

namespace cw::vault {

// Of the segments that a state names those that a collector has announced.
struct AnnouncedSegments {
    std::set<AttemptId> attempts;  // All that the note announces.
    std::set<SegmentName> gone, there;
};
// `marks` was read after the end of the chain was: what is announced later is found named, and
// kept. Errors: those of head.
Result<AnnouncedSegments> find_announced(blob::BlobStore& store, const ChainState& state,
                                         const GcBoundary& marks);

// The state before what nobody was told of; nullopt if what is gone was in what somebody was told
// of: then it was taken away, and that is damage. `announced` has some that are gone.
// Errors: those of read_chain_at().
Result<std::optional<ChainState>> told_state(blob::BlobStore& store, const VaultIdentity& vault,
                                             MachineKeys& keys, const ChainState& state,
                                             const AnnouncedSegments& announced);

}  // namespace cw::vault
