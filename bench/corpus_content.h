// The kinds of content in the corpus. Each function fills `out` completely from `dice` alone.
#pragma once

#include "base/bytes.h"

#include <cstdint>

namespace cw::bench {

// SplitMix64: small, fast, and the same everywhere. For content only.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    // Uniform enough in [0, bound), bound < 2^32.
    std::uint32_t below(std::uint32_t bound) noexcept {
        return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
    }
    bool chance(std::uint32_t percent) noexcept { return below(100) < percent; }

private:
    std::uint64_t state_;
};

void fill_source_text(Dice& dice, MutableBytes out);
void fill_html(Dice& dice, MutableBytes out);
void fill_log(Dice& dice, MutableBytes out);
void fill_program(Dice& dice, MutableBytes out);   // ELF-like: code, tables, strings.
void fill_database(Dice& dice, MutableBytes out);  // 8 KiB pages of rows and of an index.
void fill_media(Dice& dice, MutableBytes out);     // Compressed or encrypted: no redundancy.
void fill_metadata(Dice& dice, MutableBytes out);  // Inode tables, bitmaps, directories.

}  // namespace cw::bench
