#include "recovery/block_digests.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {

BlockDigests::BlockDigests(const BlockRange& range, const FingerprintSecret& secret)
    : range_(range),
      zero_(fingerprint(ByteVector(digest_block_bytes), secret)),
      states_(range.count, State::open),
      pages_((range.count + page_blocks - 1) / page_blocks),
      open_(range.count) {}

Result<BlockDigests> BlockDigests::read(Fetcher& fetcher, const Catalog& catalog,
                                        const DiskAtPoint& disk, const BlockRange& range,
                                        const WalkOptions& options) {
    BlockDigests digests(range, catalog.keys().fingerprint_secret);
    vault::PointEntry::Cut cut;
    cut.disk = disk.disk;
    cut.generation = disk.generation;
    cut.cut = disk.cut;
    CW_TRY(walk_layers(fetcher, catalog, cut, options,
                       [&digests](const OpenSegment& segment, const Layer& layer) -> Result<bool> {
                           digests.lay_under(layer, segment.chunks);
                           return digests.open_ > 0;
                       }));
    digests.finish(disk.size_bytes);
    return digests;
}

void BlockDigests::lay_under(const Layer& layer, const std::vector<vault::Chunk>& chunks) {
    for (const vault::Chunk* chunk : newest_first(layer, chunks)) {
        take(*chunk);
    }
}

void BlockDigests::take(const vault::Chunk& chunk) {
    if (chunk.raw_length == 0) {
        return;
    }
    const std::uint64_t last = (chunk.disk_offset + chunk.raw_length - 1) / digest_block_bytes;
    const std::uint64_t end = std::min(last + 1, range_.end());
    for (std::uint64_t block = std::max(chunk.disk_offset / digest_block_bytes, range_.first);
         block < end; ++block) {
        if (states_[block - range_.first] == State::open) {
            decide(block, chunk);
        }
    }
}

// The first to touch a block, from the newest down, is the only one that matters: either it covers
// the block, or what lies beneath shows through and there is no fingerprint of the mixture.
void BlockDigests::decide(std::uint64_t block, const vault::Chunk& chunk) {
    State& state = states_[block - range_.first];
    --open_;
    state = State::unknown;
    const std::uint64_t begin = block * digest_block_bytes;
    if (chunk.disk_offset > begin ||
        chunk.disk_offset + chunk.raw_length < begin + digest_block_bytes) {
        return;
    }
    if (!vault::has_bytes(chunk.codec)) {
        state = State::zero;
        return;
    }
    const auto found =
        std::ranges::find(chunk.fingerprints, block, [](const auto& entry) { return entry.first; });
    if (found == chunk.fingerprints.end()) {
        return;
    }
    const std::uint64_t at = block - range_.first;
    std::unique_ptr<Page>& page = pages_[at / page_blocks];
    if (!page) {
        page = std::make_unique<Page>();
    }
    (*page)[at % page_blocks] = found->second;
    state = State::fingerprint;
}

void BlockDigests::finish(std::uint64_t disk_bytes) {
    std::ranges::replace(states_, State::open, State::zero);  // Never written.
    open_ = 0;
    const std::uint64_t whole = disk_bytes / digest_block_bytes;
    for (std::uint64_t block = std::max(whole, range_.first); block < range_.end(); ++block) {
        states_[block - range_.first] = State::unknown;
    }
}

std::optional<Fingerprint> BlockDigests::at(std::uint64_t block) const {
    CW_ASSERT(block >= range_.first && block < range_.end());
    const std::uint64_t at = block - range_.first;
    switch (states_[at]) {
        case State::zero:
            return zero_;
        case State::fingerprint:
            return (*pages_[at / page_blocks])[at % page_blocks];
        case State::open:
        case State::unknown:
            break;
    }
    return std::nullopt;
}

std::uint64_t BlockDigests::known() const noexcept {
    return range_.count - static_cast<std::uint64_t>(std::ranges::count(states_, State::unknown));
}

}  // namespace cw::recovery
