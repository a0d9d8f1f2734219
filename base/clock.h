// The time seam. Boot time orders and times things out; wall time is only shown and signed.
//
// Nothing below appliance/ reads a system clock: components take a Clock& and keep Nanos.
#pragma once

#include <cstdint>
#include <memory>

namespace cw {

// Nanoseconds since boot (CLOCK_BOOTTIME: counts a suspended machine's sleep too). Leases,
// timeouts and rates use this and nothing else.
enum class Nanos : std::int64_t {};
// Microseconds since 1970-01-01 UTC. For people, manifests and signatures; never compared to
// decide.
enum class WallMicros : std::int64_t {};

inline constexpr std::int64_t ns_per_us = 1'000, ns_per_ms = 1'000'000, ns_per_s = 1'000'000'000;
constexpr Nanos operator+(Nanos t, std::int64_t ns) noexcept {
    return Nanos{static_cast<std::int64_t>(t) + ns};
}
constexpr std::int64_t operator-(Nanos a, Nanos b) noexcept {
    return static_cast<std::int64_t>(a) - static_cast<std::int64_t>(b);
}

class Clock {
public:
    virtual ~Clock() = default;
    virtual Nanos boot() = 0;  // Thread-safe in the system implementation.
    virtual WallMicros wall() = 0;
};

std::unique_ptr<Clock> make_system_clock();

// A clock that moves only when told to: for tests and simulation.
class ManualClock final : public Clock {
public:
    Nanos boot() override { return boot_; }
    WallMicros wall() override { return wall_; }
    void advance(std::int64_t ns) noexcept {
        boot_ = boot_ + ns;
        wall_ = WallMicros{static_cast<std::int64_t>(wall_) + ns / ns_per_us};
    }
    void jump_wall(std::int64_t us) noexcept {
        wall_ = WallMicros{static_cast<std::int64_t>(wall_) + us};
    }

private:
    Nanos boot_{ns_per_s};
    WallMicros wall_{1'700'000'000'000'000};
};

}  // namespace cw
