// ChainMend: what an opener puts right before it takes a chain over.
//
// A segment that is both alive and announced by garbage collection is looked at:
//
// - It is gone: nobody was told of the manifest that named it (vault/told_state.h says why). That
//   manifest and its corrections are taken back: the takeover stands on the state before them, and
//   what they held comes again from the cache or the agent.
// - It is there: it may have been told of, or a collector may still be about to delete it. It is
//   stored again under another attempt, which no collector knows.
//
// Blocking. Thread-safety: none. Lifetime: what it is given outlives it.
#pragma once

#include "base/random.h"
#include "egress/vault/told_state.h"

namespace cw::upload {

class ChainMend {
public:
    ChainMend(blob::BlobStore& store, const vault::VaultIdentity& vault, vault::MachineKeys& keys,
              Random& random)
        : store_(store), vault_(vault), keys_(keys), random_(random) {}

    // Amends `takeover`, the successor of `state`. Nothing is changed in most chains, at the cost
    // of one read. Errors: those of get, put and read_chain_at().
    Result<void> run(const vault::ChainState& state, vault::Manifest& takeover);
    // After `takeover` was created: whether what it names is safe. Errors: blob_unavailable (this
    // server slept meanwhile: open the chain again), those of get.
    static Result<void> confirm(const vault::Manifest& takeover, const vault::GcBoundary& marks);

private:
    Result<void> take_back(const vault::ChainState& state, const vault::ChainState& told,
                           vault::Manifest& takeover);
    Result<bool> is_there(const vault::SegmentName& name);
    Result<vault::SegmentRef> store_again(const vault::SegmentRef& ref);

    blob::BlobStore& store_;
    const vault::VaultIdentity& vault_;
    vault::MachineKeys& keys_;
    Random& random_;
    vault::AnnouncedSegments announced_;
};

}  // namespace cw::upload
