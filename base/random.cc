#include "base/random.h"

#include "base/assert.h"

#include <bit>
#include <cstring>

namespace cw {
namespace {

__extension__ using Uint128 = unsigned __int128;

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
class SeededRandom final : public Random {
public:
    explicit SeededRandom(std::uint64_t seed) : state_(seed) {}

    void fill(std::span<std::byte> out) override {
        while (!out.empty()) {
            const std::uint64_t value = step();
            const std::size_t n = out.size() < sizeof value ? out.size() : sizeof value;
            std::memcpy(out.data(), &value, n);
            out = out.subspan(n);
        }
    }

private:
    std::uint64_t step() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    std::uint64_t state_;
};

}  // namespace

std::uint64_t Random::next_u64() {
    std::uint64_t value = 0;
    fill(std::as_writable_bytes(std::span(&value, 1)));
    return value;
}

std::uint64_t Random::below(std::uint64_t bound) {
    CW_ASSERT(bound > 0);
    // Multiply-shift; the bias is below 2^-32 for every bound this program uses.
    return static_cast<std::uint64_t>(
        (static_cast<Uint128>(next_u64()) * static_cast<Uint128>(bound)) >> 64);
}

std::unique_ptr<Random> make_seeded_random(std::uint64_t seed) {
    return std::make_unique<SeededRandom>(seed);
}

}  // namespace cw
