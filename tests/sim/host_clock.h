// HostClock: the wall clock of one computer. Time passes everywhere alike; what hour it is they may
// disagree about, by years (fault catalogue: E7, G5).
#pragma once

#include "base/clock.h"

namespace cw::sim {

class HostClock final : public Clock {
public:
    // Both outlive it. `ahead_us` may change while it runs. `one_clock`: a planted bug, timers go
    // by what hour it is.
    HostClock(Clock& world, const std::int64_t& ahead_us, bool one_clock)
        : world_(world), ahead_us_(ahead_us), one_clock_(one_clock) {}
    Nanos boot() override { return world_.boot() + (one_clock_ ? ahead_us_ * ns_per_us : 0); }
    WallMicros wall() override {
        return WallMicros{static_cast<std::int64_t>(world_.wall()) + ahead_us_};
    }

private:
    Clock& world_;
    const std::int64_t& ahead_us_;
    const bool one_clock_;
};

}  // namespace cw::sim
