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

}  // namespace cw::upload
