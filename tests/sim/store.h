// ProcessStore: the object store as one process sees it. A decorator: it stops with its process,
// shows every put to whoever watches, and is where the planted bugs of the store's users sit.
//
// After kill() every operation that is open or begins ends with an error at the next poll; what the
// store itself had under way may still be applied or not, as with a real one.
// Thread-safety: none. Lifetime: life and watcher outlive the stores.
#pragma once

#include "egress/blob/store.h"
#include "tests/sim/mutants.h"

#include <functional>
#include <list>
#include <memory>

namespace cw::sim {

// Told of every put before it reaches the store, with the bytes, of deletions, and of what was
// read.
class StoreWatcher {
public:
    virtual ~StoreWatcher() = default;
    virtual void on_put(const blob::PutRequest& request) = 0;
    virtual void on_stored(const blob::BlobName& name) = 0;  // Known to be there.
    virtual void on_remove(const blob::BlobName& name) = 0;
    virtual void on_removed(const blob::BlobName& name) = 0;  // Known to be gone.
    virtual void on_got(const blob::BlobName& name, bool by_etag) = 0;
};

struct ProcessLife {
    bool dead = false;
};

// Both outlive the factory and its stores.
std::unique_ptr<blob::StoreFactory> make_process_stores(std::unique_ptr<blob::StoreFactory> inner,
                                                        const ProcessLife& life,
                                                        StoreWatcher& watcher, Mutant mutant);

}  // namespace cw::sim
