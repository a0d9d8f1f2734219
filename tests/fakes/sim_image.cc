#include "tests/fakes/sim_image.h"

#include "base/assert.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace cw::fakes {
namespace {

// Calls action(block index, offset in block, offset in range, length) for each block touched.
template <typename Action>
void for_blocks(std::uint64_t offset, std::uint64_t length, Action action) {
    for (std::uint64_t at = 0; at < length;) {
        const std::uint64_t inside = (offset + at) % block_bytes;
        const std::uint64_t part = std::min(length - at, block_bytes - inside);
        action((offset + at) / block_bytes, inside, at, part);
        at += part;
    }
}

std::uint8_t sector_mask(std::uint64_t inside, std::uint64_t length) {
    std::uint8_t mask = 0;
    for (std::uint64_t s = inside / sector_bytes; s <= (inside + length - 1) / sector_bytes; ++s) {
        mask = static_cast<std::uint8_t>(mask | (1U << s));
    }
    return mask;
}

}  // namespace

void SimImage::read(std::uint64_t offset, MutableBytes out, bool direct) const {
    // The caches are mostly holes: cleared in one go, however many blocks they span.
    std::uint64_t hole = 0, hole_end = 0;
    const auto clear = [&] {
        if (hole < hole_end) {
            std::memset(out.data() + hole, 0, hole_end - hole);
        }
    };
    for_blocks(offset, out.size(), [&](auto index, auto inside, auto at, auto length) {
        const MutableBytes part = out.subspan(at, length);
        const auto it = blocks_.find(index);
        if (it == blocks_.end()) {
            if (hole_end != at) {
                clear();
                hole = at;
            }
            hole_end = at + length;
            return;
        }
        const Block& block = it->second;
        if (!direct || block.phantom == 0) {
            std::copy_n(block.cache.begin() + inside, length, part.begin());
            return;
        }
        for (std::uint64_t i = 0; i < length; ++i) {
            const bool lost = (block.phantom >> ((inside + i) / sector_bytes) & 1) != 0;
            part[i] = lost ? block.durable[inside + i] : block.cache[inside + i];
        }
    });
    clear();
}

void SimImage::read_durable(std::uint64_t offset, MutableBytes out) const {
    for_blocks(offset, out.size(), [&](auto index, auto inside, auto at, auto length) {
        const auto it = blocks_.find(index);
        const MutableBytes part = out.subspan(at, length);
        if (it == blocks_.end()) {
            std::ranges::fill(part, std::byte{});
        } else {
            std::copy_n(it->second.durable.begin() + inside, length, part.begin());
        }
    });
}

void SimImage::write(std::uint64_t offset, Bytes bytes) {
    for_blocks(offset, bytes.size(), [&](auto index, auto inside, auto at, auto length) {
        Block& block = blocks_[index];
        if (earlier_kept_ && !std::equal(bytes.begin() + at, bytes.begin() + at + length,
                                         block.cache.begin() + inside)) {
            earlier_[index] = block.cache;
        }
        std::copy_n(bytes.begin() + at, length, block.cache.begin() + inside);
        const std::uint8_t mask = sector_mask(inside, length);
        block.dirty = static_cast<std::uint8_t>(block.dirty | mask);
        block.phantom = static_cast<std::uint8_t>(block.phantom & ~mask);
    });
    size_ = std::max(size_, offset + bytes.size());
}

template <typename Action>
void SimImage::for_dirty(std::uint64_t offset, std::uint64_t length, Action action) {
    for_blocks(offset, length, [&](auto index, auto inside, auto, auto part) {
        const auto it = blocks_.find(index);
        if (it == blocks_.end()) {
            return;
        }
        const std::uint8_t wanted = sector_mask(inside, part);
        for (std::size_t s = 0; s < sectors_per_block; ++s) {
            if ((it->second.dirty & wanted & (1U << s)) != 0) {
                action(it->second, s);
                it->second.dirty = static_cast<std::uint8_t>(it->second.dirty & ~(1U << s));
            }
        }
    });
}

namespace {
template <typename Block>
void copy_sector(const Block& from, Block& to, std::size_t sector, std::size_t bytes) {
    std::copy_n(from.begin() + sector * sector_bytes, bytes, to.begin() + sector * sector_bytes);
}
}  // namespace

void SimImage::persist(std::uint64_t offset, std::uint64_t length) {
    for_dirty(offset, length, [](Block& block, std::size_t s) {
        copy_sector(block.cache, block.durable, s, sector_bytes);
    });
    durable_size_ = std::max(durable_size_, std::min(size_, offset + length));
}

void SimImage::persist_all() {
    for (auto& [index, block] : blocks_) {  // In whatever order: nothing is drawn.
        for (std::size_t s = 0; block.dirty != 0 && s < sectors_per_block; ++s) {
            if ((block.dirty & (1U << s)) != 0) {
                copy_sector(block.cache, block.durable, s, sector_bytes);
            }
        }
        block.dirty = 0;
    }
    durable_size_ = size_;
}

void SimImage::fail_sync(std::uint64_t offset, std::uint64_t length, Random& random) {
    for_dirty(offset, length, [&](Block& block, std::size_t s) {
        if (random.below(2) == 0) {
            copy_sector(block.cache, block.durable, s, sector_bytes);
        } else {
            block.phantom = static_cast<std::uint8_t>(block.phantom | (1U << s));
        }
    });
}

void SimImage::power_cut(Random& random) {
    // In order of place, so that a seed decides and not the layout of a hash table.
    std::vector<std::uint64_t> indices;
    for (const auto& [index, block] : blocks_) {
        if (block.dirty != 0 || block.phantom != 0) {
            indices.push_back(index);
        }
    }
    std::ranges::sort(indices);
    for (const std::uint64_t index : indices) {
        for_dirty(index * block_bytes, block_bytes, [&](Block& block, std::size_t s) {
            const std::uint64_t fate = random.below(5);  // 0,1: new; 2,3: old; 4: torn.
            const std::size_t kept =
                fate < 2 ? sector_bytes : (fate < 4 ? 0 : random.below(sector_bytes));
            copy_sector(block.cache, block.durable, s, kept);
        });
        Block& block = blocks_[index];
        block.cache = block.durable;
        block.phantom = 0;
    }
    if (random.below(2) == 0) {
        truncate(std::min(size_, durable_size_));
    }
    durable_size_ = size_;
}

void SimImage::flip_bit(std::uint64_t offset, unsigned bit) {
    Block& block = blocks_[offset / block_bytes];
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    block.cache[offset % block_bytes] ^= mask;
    block.durable[offset % block_bytes] ^= mask;
}

void SimImage::revert(std::uint64_t offset, std::uint64_t length) {
    CW_ASSERT(earlier_kept_ && offset % block_bytes == 0 && length % block_bytes == 0);
    for (std::uint64_t at = offset; at < offset + length; at += block_bytes) {
        const auto before = earlier_.find(at / block_bytes);
        Block& block = blocks_[at / block_bytes];
        block = {};
        if (before != earlier_.end()) {
            block.cache = block.durable = before->second;
        }
    }
}

void SimImage::truncate(std::uint64_t bytes) {
    std::erase_if(blocks_, [&](const auto& entry) { return entry.first * block_bytes >= bytes; });
    size_ = bytes;
    durable_size_ = std::min(durable_size_, bytes);
}

void SimImage::resize(std::uint64_t bytes) {
    if (bytes < size_) {
        truncate(bytes);
    }
    size_ = bytes;
}

std::vector<std::uint64_t> SimImage::written_blocks() const {
    std::vector<std::uint64_t> out;
    out.reserve(blocks_.size());
    for (const auto& entry : blocks_) {
        out.push_back(entry.first * block_bytes);
    }
    std::ranges::sort(out);
    return out;
}

std::size_t SimImage::dirty_sectors() const noexcept {
    std::size_t sum = 0;
    for (const auto& entry : blocks_) {
        sum += static_cast<std::size_t>(std::popcount(entry.second.dirty));
    }
    return sum;
}

}  // namespace cw::fakes
