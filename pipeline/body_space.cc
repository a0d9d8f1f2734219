#include "pipeline/body_space.h"

#include "base/ids.h"

#include <algorithm>

namespace cw::pipeline {
namespace {

constexpr unsigned offset_bits = 40;
constexpr std::uint64_t offset_mask = (std::uint64_t{1} << offset_bits) - 1;

constexpr std::size_t slabs_for(std::uint64_t bytes) noexcept {
    return static_cast<std::size_t>(align_up(bytes, slab_bytes) / slab_bytes);
}

}  // namespace

BodySpace::BodySpace(SlabPool& pool, std::uint64_t raw_bytes)
    : worst_bytes_(raw_bytes), kept_(slabs_for(raw_bytes)) {
    const std::size_t needed = slabs_for(raw_bytes);
    CW_ASSERT(needed <= pool.count());
    // Looked at before taking: returning a part of what was needed would wake the very thread that
    // waits for all of it.
    if (pool.free_count() < needed) {
        return;
    }
    slabs_.reserve(needed);
    while (slabs_.size() < needed) {
        slabs_.push_back(pool.try_take());
        if (!slabs_.back()) {
            slabs_.clear();
            return;
        }
    }
    has_room_ = true;
}

BodySpace::Place BodySpace::allocate(std::uint32_t count, std::uint64_t stored_bytes,
                                     std::uint64_t raw_bytes) noexcept {
    CW_ASSERT(stored_bytes <= raw_bytes);
    const std::uint64_t step = (std::uint64_t{count} << offset_bits) | stored_bytes;
    const std::uint64_t place = next_.fetch_add(step, std::memory_order_relaxed);
    worst_bytes_.fetch_sub(raw_bytes - stored_bytes, std::memory_order_relaxed);
    return_surplus();
    return {.ordinal = static_cast<std::uint32_t>(place >> offset_bits),
            .offset = place & offset_mask};
}

// worst_bytes_ only falls and never below what will be used, so a slab beyond it belongs to nobody.
void BodySpace::return_surplus() noexcept {
    const std::size_t needed = slabs_for(worst_bytes_.load(std::memory_order_relaxed));
    std::size_t kept = kept_.load(std::memory_order_relaxed);
    while (kept > needed) {
        if (kept_.compare_exchange_weak(kept, kept - 1, std::memory_order_relaxed)) {
            slabs_[kept - 1].reset();
            --kept;
        }
    }
}

BodyPieces BodySpace::pieces(std::uint64_t offset, std::size_t length) const noexcept {
    CW_ASSERT(length <= slab_bytes && offset + length <= used_bytes());
    BodyPieces out;
    while (length > 0) {
        const std::size_t within = offset % slab_bytes;
        const std::size_t step = std::min(length, slab_bytes - within);
        out.add(slabs_[offset / slab_bytes].bytes().subspan(within, step));
        offset += step;
        length -= step;
    }
    return out;
}

std::uint64_t BodySpace::used_bytes() const noexcept {
    return next_.load(std::memory_order_relaxed) & offset_mask;
}

std::vector<Slab> BodySpace::finish() noexcept {
    slabs_.resize(slabs_for(used_bytes()));
    CW_ASSERT(std::ranges::all_of(slabs_, [](const Slab& slab) { return bool{slab}; }));
    return std::move(slabs_);
}

}  // namespace cw::pipeline
