// SendPace: how fast each upload on its way may be sent now. Set by whoever knows the limit and how
// many share it; read by the HTTP clients of all stores of a vault, also for requests under way.
#pragma once

#include <atomic>
#include <cstdint>

namespace cw::blob {

struct SendPace {
    std::atomic<std::uint64_t> bytes_per_s{0};  // Of one request; 0: as fast as it goes.
};

}  // namespace cw::blob
