// Pauses between attempts: doubling, with jitter, so that many machines do not come back together.
#pragma once

#include "base/random.h"
#include "egress/upload/options.h"

#include <algorithm>

namespace cw::upload {

// After `failures` earlier ones in a row: between half and all of the doubled pause.
inline std::int64_t pause_ns(const EngineOptions& options, std::uint32_t failures, Random& random) {
    const std::int64_t full =
        std::min(options.pause_max_ns, options.pause_first_ns << std::min(failures, 20U));
    return full / 2 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(full)) / 2);
}

// After `why`. Whoever was refused the credential comes back sooner: until the store asks the
// service again, for everybody, an answer costs no request.
inline std::int64_t pause_ns(const EngineOptions& options, std::uint32_t failures, Random& random,
                             const Error& why) {
    constexpr std::uint32_t doublings_max = 5;
    const bool refused = action_of(why.code) == Action::reauth;
    return pause_ns(options, refused ? std::min(failures, doublings_max) : failures, random);
}

}  // namespace cw::upload
