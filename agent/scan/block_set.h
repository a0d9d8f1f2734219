// BlockSet: which 64 KiB blocks of a disk. Sparse: one 64-bit word per 4 MiB super-chunk that has a
// member, so that the word of super-chunk i is exactly the work of BASE ordinal i.
// Thread-safety: none.
#pragma once

#include "base/ids.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <utility>

namespace cw::agent {

inline constexpr std::uint64_t map_block_bytes = 64 * kib;
inline constexpr std::uint64_t super_bytes = 4 * mib;
static_assert(super_bytes / map_block_bytes == 64);

class BlockSet {
public:
    using Words = std::map<std::uint32_t, std::uint64_t>;  // super-chunk → mask, never 0

    // Adds the blocks that [offset, offset + length) touches; calls changed(ordinal) for each word
    // that grew. length > 0.
    template <typename Changed>
    void add_range(std::uint64_t offset, std::uint64_t length, Changed&& changed) {
        const std::uint64_t last = (offset + length - 1) / map_block_bytes;
        for (std::uint64_t block = offset / map_block_bytes; block <= last;) {
            const auto ordinal = static_cast<std::uint32_t>(block / 64);
            const std::uint64_t from = block % 64;
            const std::uint64_t count = std::min<std::uint64_t>(64 - from, last - block + 1);
            if (add_mask(ordinal, mask_of(from, count))) {
                changed(ordinal);
            }
            block += count;
        }
    }
    void add_range(std::uint64_t offset, std::uint64_t length) {
        add_range(offset, length, [](std::uint32_t) {});
    }
    // True if the word grew.
    bool add_mask(std::uint32_t ordinal, std::uint64_t mask) {
        if (mask == 0) {
            return false;
        }
        std::uint64_t& word = words_[ordinal];
        const std::uint64_t before = std::exchange(word, word | mask);
        return word != before;
    }
    void remove_mask(std::uint32_t ordinal, std::uint64_t mask) {
        if (const auto it = words_.find(ordinal);
            it != words_.end() && (it->second &= ~mask) == 0) {
            words_.erase(it);
        }
    }
    void merge(const BlockSet& other) {
        for (const auto& [ordinal, mask] : other.words_) {
            add_mask(ordinal, mask);
        }
    }
    void clear() noexcept { words_.clear(); }

    [[nodiscard]] std::uint64_t mask(std::uint32_t ordinal) const {
        const auto it = words_.find(ordinal);
        return it == words_.end() ? 0 : it->second;
    }
    [[nodiscard]] bool test(std::uint64_t block) const {
        return (mask(static_cast<std::uint32_t>(block / 64)) >> (block % 64) & 1) != 0;
    }
    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
    [[nodiscard]] const Words& words() const noexcept { return words_; }
    // Bytes covered, counted in whole blocks.
    [[nodiscard]] std::uint64_t bytes() const noexcept {
        std::uint64_t blocks = 0;
        for (const auto& [ordinal, mask] : words_) {
            blocks += static_cast<std::uint64_t>(std::popcount(mask));
        }
        return blocks * map_block_bytes;
    }

private:
    static std::uint64_t mask_of(std::uint64_t from, std::uint64_t count) noexcept {
        return (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << from;
    }
    Words words_;
};

}  // namespace cw::agent
