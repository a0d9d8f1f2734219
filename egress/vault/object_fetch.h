// ObjectFetch: whole objects of one numbered series, several requests in flight.
//
// Thread-safety: none, as of the store. Lifetime: store and map outlive it.
#pragma once

#include "egress/blob/store.h"

#include <functional>
#include <map>
#include <optional>

namespace cw::vault {

// `error` with the object's name before its detail.
std::unexpected<Error> about(const blob::BlobName& name, Error error);

class ObjectFetch {
public:
    using NameOf = std::function<blob::BlobName(std::uint64_t)>;
    ObjectFetch(blob::BlobStore& store, NameOf name_of,
                std::map<std::uint64_t, ByteVector>& objects)
        : store_(store), name_of_(std::move(name_of)), objects_(objects) {}

    // Fetches the objects that `name_of` numbers [from, to] and `objects` has not got. Blocking.
    // The first error wins, and nothing is started after it; what is under way is waited for.
    // Errors: those of get.
    Result<void> run(std::uint64_t from, std::uint64_t to);

private:
    void start(std::uint64_t number);

    blob::BlobStore& store_;
    NameOf name_of_;
    std::map<std::uint64_t, ByteVector>& objects_;
    std::size_t in_flight_ = 0;
    std::optional<Error> error_;
};

}  // namespace cw::vault
