// The randomness seam. Nothing below appliance/ opens a random device: keys, names and jitter come
// from here, so that a simulator can repeat a run from its seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace cw {

class Random {
public:
    virtual ~Random() = default;
    // Fills `out` completely. The system implementation aborts if the kernel has no entropy.
    virtual void fill(std::span<std::byte> out) = 0;

    std::uint64_t next_u64();
    // Uniform in [0, bound). bound > 0.
    std::uint64_t below(std::uint64_t bound);
};

// getrandom(2): fit for keys. Thread-safe.
std::unique_ptr<Random> make_system_random();
// xoshiro-like generator for tests and simulation; never for keys. Not thread-safe.
std::unique_ptr<Random> make_seeded_random(std::uint64_t seed);

}  // namespace cw
