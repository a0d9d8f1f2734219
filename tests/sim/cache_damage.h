// What a cache device does to records at rest or on their way to it: a bit flips, a write lands
// elsewhere or nowhere although it was confirmed, a sector cannot be read, once or ever again.
//
// Only where a later batch calls the victim durable: what nothing vouches for cannot be told from a
// torn tail by any reader.
#pragma once

#include "base/random.h"
#include "tests/fakes/sim_disk.h"

#include <optional>

namespace cw::sim {

struct CacheDamage {
    const char* name;      // As counted.
    bool lasting = false;  // Something acknowledged cannot be had from this device any more.
};

// `live`: bytes of the log that are still needed. Nothing if no batch can be hit.
std::optional<CacheDamage> damage_cache(fakes::SimStorage& storage, std::uint64_t live,
                                        Random& random);

}  // namespace cw::sim
