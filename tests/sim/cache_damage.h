// What a cache device does to records at rest or on their way to it: a bit flips, a write lands
// elsewhere or nowhere although it was confirmed, a sector cannot be read, once or ever again.
// Where a write got lost lies what lay there before.
//
// Only where a later batch calls the victim durable: what nothing vouches for cannot be told from a
// torn tail by any reader.
#pragma once

#include "base/random.h"
#include "cache/spool_format.h"
#include "tests/fakes/sim_disk.h"

#include <optional>
#include <vector>

namespace cw::sim {

struct CacheDamage {
    const char* name;      // As counted.
    bool lasting = false;  // Something acknowledged cannot be had from this device any more.
};

// `live`: bytes of the log that are still needed. Nothing if no batch can be hit.
std::optional<CacheDamage> damage_cache(fakes::SimStorage& storage, std::uint64_t live,
                                        Random& random);

// One of the two superblocks or checkpoints rots, where the other one is whole: nothing is lost by
// it. For a device that nobody uses now. Nothing if it cannot be.
std::optional<CacheDamage> damage_one_copy(fakes::SimStorage& storage, Random& random);

// Where the log of a device that nobody uses now ends for any reader.
struct LogEnd {
    std::uint64_t mark = 0;                  // The newest batch that something vouches for.
    std::vector<cache::BatchHeader> behind;  // It; ascending.
};
LogEnd find_log_end(fakes::SimStorage& storage);

// Of what went astray on its way to the cache something was, or hit, what nothing vouches for. What
// was acknowledged of that is gone without a report; the agents notice.
bool strayed_behind(const LogEnd& end, const std::vector<fakes::AstrayWrite>& astray);

}  // namespace cw::sim
