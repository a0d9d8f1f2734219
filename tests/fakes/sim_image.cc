#include "tests/fakes/sim_image.h"

#include "base/assert.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

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

SimImage::Block::Block(const Block& other)
    : cache(std::make_unique<Page>(*other.cache)),
      durable(other.durable ? std::make_unique<Page>(*other.durable) : nullptr),
      dirty(other.dirty),
      phantom(other.phantom),
      blank(other.blank),
      listed(other.listed) {}

SimImage::Page& SimImage::to_change(Block& block, std::uint64_t inside, std::uint64_t length) {
    const bool whole = inside == 0 && length == block_bytes;
    if (!block.cache) {
        block.cache = whole ? std::make_unique_for_overwrite<Page>() : std::make_unique<Page>();
    } else if (!block.durable && !block.blank) {
        block.durable = std::make_unique_for_overwrite<Page>();
        if (whole) {
            block.cache.swap(block.durable);
        } else {
            *block.durable = *block.cache;
        }
    }
    return *block.cache;
}

SimImage::Page& SimImage::platter(Block& block) {
    if (!block.durable) {
        block.durable =
            block.blank ? std::make_unique<Page>() : std::make_unique<Page>(*block.cache);
        block.blank = false;
    }
    return *block.durable;
}

void SimImage::settle(Block& block) noexcept {
    if (block.dirty == 0 && block.phantom == 0) {
        block.durable.reset();
        block.blank = false;
    }
}

void SimImage::persist_sector(Block& block, std::size_t sector, std::size_t bytes) {
    const std::size_t at = sector * sector_bytes;
    std::copy_n(block.cache->begin() + at, bytes, platter(block).begin() + at);
}

void SimImage::persist_sectors(Block& block, std::uint8_t wanted) {
    const auto these = static_cast<std::uint8_t>(block.dirty & wanted);
    const bool all = block.phantom == 0 && these == block.dirty;
    for (std::size_t s = 0; !all && s < sectors_per_block; ++s) {
        if ((these & (1U << s)) != 0) {
            persist_sector(block, s, sector_bytes);
        }
    }
    block.dirty = static_cast<std::uint8_t>(block.dirty & ~these);
    settle(block);
}

SimImage::Block& SimImage::write_to(std::uint64_t index) {
    Block& block = blocks_[index];
    if (!block.listed) {
        block.listed = true;
        changed_.push_back(index);
    }
    return block;
}

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
        std::copy_n(block.cache->begin() + inside, length, part.begin());
        for (std::uint64_t i = 0; direct && block.phantom != 0 && i < length; ++i) {
            if ((block.phantom >> ((inside + i) / sector_bytes) & 1) != 0) {
                part[i] = block.durable ? (*block.durable)[inside + i] : std::byte{};
            }
        }
    });
    clear();
}

void SimImage::read_durable(std::uint64_t offset, MutableBytes out) const {
    for_blocks(offset, out.size(), [&](auto index, auto inside, auto at, auto length) {
        const auto it = blocks_.find(index);
        const MutableBytes part = out.subspan(at, length);
        if (it == blocks_.end() || (!it->second.durable && it->second.blank)) {
            std::ranges::fill(part, std::byte{});
        } else {
            const Block& block = it->second;
            const Page& page = block.durable ? *block.durable : *block.cache;
            std::copy_n(page.begin() + inside, length, part.begin());
        }
    });
}

void SimImage::write(std::uint64_t offset, Bytes bytes) {
    for_blocks(offset, bytes.size(), [&](auto index, auto inside, auto at, auto length) {
        Block& block = write_to(index);
        const Bytes part = bytes.subspan(at, length);
        if (earlier_kept_ &&
            (!block.cache || std::memcmp(part.data(), block.cache->data() + inside, length) != 0)) {
            earlier_[index] = block.cache ? *block.cache : Page{};
        }
        std::copy(part.begin(), part.end(), to_change(block, inside, length).begin() + inside);
        const std::uint8_t mask = sector_mask(inside, length);
        block.dirty = static_cast<std::uint8_t>(block.dirty | mask);
        block.phantom = static_cast<std::uint8_t>(block.phantom & ~mask);
    });
    size_ = std::max(size_, offset + bytes.size());
}

void SimImage::persist(std::uint64_t offset, std::uint64_t length) {
    for_blocks(offset, length, [&](auto index, auto inside, auto, auto part) {
        if (const auto it = blocks_.find(index); it != blocks_.end()) {
            persist_sectors(it->second, sector_mask(inside, part));
        }
    });
    durable_size_ = std::max(durable_size_, std::min(size_, offset + length));
}

void SimImage::persist_all() {
    std::erase_if(changed_, [this](std::uint64_t index) {
        Block& block = blocks_.at(index);
        persist_sectors(block, UINT8_MAX);
        block.listed = block.phantom != 0;
        return !block.listed;
    });
    durable_size_ = size_;
}

void SimImage::fail_sync(std::uint64_t offset, std::uint64_t length, Random& random) {
    for_blocks(offset, length, [&](auto index, auto inside, auto, auto part) {
        const auto it = blocks_.find(index);
        if (it == blocks_.end()) {
            return;
        }
        Block& block = it->second;
        const auto these = static_cast<std::uint8_t>(block.dirty & sector_mask(inside, part));
        for (std::size_t s = 0; s < sectors_per_block; ++s) {
            if ((these & (1U << s)) == 0) {
                continue;
            }
            if (random.below(2) == 0) {
                persist_sector(block, s, sector_bytes);
            } else {
                block.phantom = static_cast<std::uint8_t>(block.phantom | (1U << s));
            }
        }
        block.dirty = static_cast<std::uint8_t>(block.dirty & ~these);
        settle(block);
    });
}

void SimImage::power_cut(Random& random) {
    // In order of place, so that a seed decides and not the order of what came before.
    std::vector<std::uint64_t> indices = std::exchange(changed_, {});
    std::ranges::sort(indices);
    for (const std::uint64_t index : indices) {
        Block& block = blocks_.at(index);
        block.listed = false;
        if (block.dirty == 0 && block.phantom == 0) {
            continue;
        }
        platter(block);
        for (std::size_t s = 0; s < sectors_per_block; ++s) {
            if ((block.dirty & (1U << s)) == 0) {
                continue;
            }
            const std::uint64_t fate = random.below(5);  // 0,1: new; 2,3: old; 4: torn.
            const std::size_t kept =
                fate < 2 ? sector_bytes : (fate < 4 ? 0 : random.below(sector_bytes));
            persist_sector(block, s, kept);
        }
        block.cache = std::move(block.durable);
        block.dirty = block.phantom = 0;
    }
    if (random.below(2) == 0) {
        truncate(std::min(size_, durable_size_));
    }
    durable_size_ = size_;
}

void SimImage::flip_bit(std::uint64_t offset, unsigned bit) {
    Block& block = write_to(offset / block_bytes);
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    if (!block.cache) {
        block.cache = std::make_unique<Page>();
        block.blank = false;
    }
    (*block.cache)[offset % block_bytes] ^= mask;
    if (block.durable || block.blank) {
        platter(block)[offset % block_bytes] ^= mask;
    }
}

void SimImage::revert(std::uint64_t offset, std::uint64_t length) {
    CW_ASSERT(earlier_kept_ && offset % block_bytes == 0 && length % block_bytes == 0);
    for (std::uint64_t at = offset; at < offset + length; at += block_bytes) {
        const auto before = earlier_.find(at / block_bytes);
        Block& block = write_to(at / block_bytes);
        block.cache = before == earlier_.end() ? std::make_unique<Page>()
                                               : std::make_unique<Page>(before->second);
        block.dirty = block.phantom = 0;
        settle(block);
    }
}

void SimImage::truncate(std::uint64_t bytes) {
    std::erase_if(blocks_, [&](const auto& entry) { return entry.first * block_bytes >= bytes; });
    std::erase_if(changed_, [&](std::uint64_t index) { return index * block_bytes >= bytes; });
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
    for (const std::uint64_t index : changed_) {
        sum += static_cast<std::size_t>(std::popcount(blocks_.at(index).dirty));
    }
    return sum;
}

}  // namespace cw::fakes
