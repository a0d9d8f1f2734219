// A clock that moves only when told to, also while other threads write disks and look at it.
#pragma once

#include "base/clock.h"

#include <atomic>
#include <functional>

namespace cw::agent::test {

class SharedClock final : public Clock {
public:
    Nanos boot() override {
        if (looked) {
            looked();
        }
        return Nanos{ns_.load()};
    }
    WallMicros wall() override {
        return WallMicros{1'700'000'000'000'000 + ns_.load() / ns_per_us};
    }
    void advance(std::int64_t ns) noexcept { ns_ += ns; }

    std::function<void()> looked;  // By the thread that looks. Set while no other one does.

private:
    std::atomic<std::int64_t> ns_{ns_per_s};
};

}  // namespace cw::agent::test
