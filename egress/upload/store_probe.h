// StoreProbe: finds out whether the store is back after a machine could not be opened because of
// it, by asking for an object's properties now and then.
//
// Whoever is refused its HELLO may be served by another server from then on, for good. Nobody else
// would tell this one that what it said of the machine is over.
//
// Asynchronous over the publisher's store. Thread-safety: none. Lifetime: it may be destroyed while
// a request is under way.
#pragma once

#include "base/random.h"
#include "egress/blob/store.h"
#include "egress/upload/options.h"

#include <memory>

namespace cw::upload {

class StoreProbe {
public:
    // Whether the error is one that a store's answer, whatever it says, is the end of.
    [[nodiscard]] static bool worth(Errc code) noexcept;

    StoreProbe(const EngineOptions& options, Random& random, Nanos now);
    // Starts what is due. True: the store has answered.
    bool step(blob::BlobStore& store, const blob::BlobName& name, Nanos now);
    [[nodiscard]] Nanos next_deadline() const noexcept;

private:
    struct Look {  // Shared with the callback.
        bool under_way = false, answered = false;
    };
    void pause(Nanos now);

    const EngineOptions& options_;
    Random& random_;
    std::uint32_t looks_ = 0;
    Nanos due_{};
    std::shared_ptr<Look> look_ = std::make_shared<Look>();
};

}  // namespace cw::upload
