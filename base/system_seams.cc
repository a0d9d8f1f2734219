// The system's clock and randomness: the only place that asks the kernel for either.
#include "base/assert.h"
#include "base/clock.h"
#include "base/random.h"

#include <cerrno>
#include <ctime>

#include <sys/random.h>

namespace cw {
namespace {

class SystemClock final : public Clock {
public:
    Nanos boot() override {
        timespec t{};
        clock_gettime(CLOCK_BOOTTIME, &t);
        return Nanos{t.tv_sec * ns_per_s + t.tv_nsec};
    }
    WallMicros wall() override {
        timespec t{};
        clock_gettime(CLOCK_REALTIME, &t);
        return WallMicros{t.tv_sec * 1'000'000 + t.tv_nsec / 1'000};
    }
};

class SystemRandom final : public Random {
public:
    void fill(std::span<std::byte> out) override {
        while (!out.empty()) {
            const ssize_t n = getrandom(out.data(), out.size(), 0);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            CW_ASSERT(n > 0);  // Keys without entropy must never be made.
            out = out.subspan(static_cast<std::size_t>(n));
        }
    }
};

}  // namespace

std::unique_ptr<Clock> make_system_clock() {
    return std::make_unique<SystemClock>();
}
std::unique_ptr<Random> make_system_random() {
    return std::make_unique<SystemRandom>();
}

}  // namespace cw
