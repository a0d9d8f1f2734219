// BodySpace: where the chunks of one segment body go, while several workers fill it at once.
//
// It starts with slabs for the worst case, hands out adjacent ranges and ordinals in one step, and
// returns slabs as soon as no outcome of the chunks still to come can need them.
// Thread-safety: allocate(), settle() and pieces() from any worker; finish() after all of them.
#pragma once

#include "pipeline/slab.h"

#include <array>
#include <atomic>
#include <span>
#include <vector>

namespace cw::pipeline {

// A range of the body as memory: it lies in at most two slabs.
class BodyPieces {
public:
    [[nodiscard]] std::span<const MutableBytes> writable() const noexcept {
        return {writable_.data(), count_};
    }
    [[nodiscard]] std::span<const Bytes> readable() const noexcept {
        return {readable_.data(), count_};
    }

private:
    friend class BodySpace;
    void add(MutableBytes bytes) noexcept {
        CW_ASSERT(count_ < writable_.size());
        writable_[count_] = bytes;
        readable_[count_] = bytes;
        ++count_;
    }
    std::array<MutableBytes, 2> writable_;
    std::array<Bytes, 2> readable_;
    std::size_t count_ = 0;
};

class BodySpace {
public:
    // Takes the slabs for `raw_bytes`, or none: has_room() tells. The pool outlives this.
    BodySpace(SlabPool& pool, std::uint64_t raw_bytes);
    [[nodiscard]] bool has_room() const noexcept { return has_room_; }

    struct Place {
        std::uint32_t ordinal = 0;  // Of the first chunk; the others follow.
        std::uint64_t offset = 0;
    };
    // Room for `count` chunks of `stored_bytes` together, which `raw_bytes` of the worst case have
    // become (stored_bytes <= raw_bytes).
    Place allocate(std::uint32_t count, std::uint64_t stored_bytes,
                   std::uint64_t raw_bytes) noexcept;
    // The memory of a range that was allocated; length <= slab_bytes.
    [[nodiscard]] BodyPieces pieces(std::uint64_t offset, std::size_t length) const noexcept;

    [[nodiscard]] std::uint64_t used_bytes() const noexcept;
    // The slabs in use, in order; the rest has gone home.
    std::vector<Slab> finish() noexcept;

private:
    void return_surplus() noexcept;

    std::vector<Slab> slabs_;
    bool has_room_ = false;
    std::atomic<std::uint64_t> next_{0};      // ordinal << offset_bits | offset
    std::atomic<std::uint64_t> worst_bytes_;  // Used so far, and the rest stored raw.
    std::atomic<std::size_t> kept_;           // Slabs not yet returned.
};

}  // namespace cw::pipeline
