// BlockDigests: the fingerprints of a disk's 64 KiB blocks as they were at a cut, from segment
// indexes alone: no chunk is downloaded.
//
// For each block the newest layer that touches it decides. A chunk that wrote the block whole
// carries its fingerprint; a hole over the whole block, or no layer at all, means zeros; a block
// put together from several chunks is unknown, and unknown counts as different. A last block that
// is not a whole one is unknown.
//
// Covers a range of blocks, so that the memory of a large disk is bounded: at most
// bytes_per_block_max per block. Thread-safety: immutable after read().
#pragma once

#include "recovery/catalog.h"
#include "recovery/fetcher.h"
#include "recovery/layer_walk.h"

#include <array>
#include <memory>
#include <optional>
#include <vector>

namespace cw::recovery {

inline constexpr std::uint64_t digest_block_bytes = vault::fingerprint_block_bytes;

struct BlockRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    [[nodiscard]] std::uint64_t end() const noexcept { return first + count; }
};

class BlockDigests {
public:
    static constexpr std::uint64_t bytes_per_block_max = sizeof(Fingerprint) + 1;

    // `range` may reach beyond the disk's end. Blocking.
    // Errors: those of walk_layers().
    static Result<BlockDigests> read(Fetcher& fetcher, const Catalog& catalog,
                                     const DiskAtPoint& disk, const BlockRange& range,
                                     const WalkOptions& options);

    [[nodiscard]] const BlockRange& range() const noexcept { return range_; }
    // `block` is in the range. nullopt: unknown.
    [[nodiscard]] std::optional<Fingerprint> at(std::uint64_t block) const;
    [[nodiscard]] std::uint64_t known() const noexcept;

private:
    enum class State : std::uint8_t { open, unknown, zero, fingerprint };
    static constexpr std::size_t page_blocks = 4096;
    using Page = std::array<Fingerprint, page_blocks>;

    BlockDigests(const BlockRange& range, const FingerprintSecret& secret);
    void lay_under(const Layer& layer, const std::vector<vault::Chunk>& chunks);
    void take(const vault::Chunk& chunk);
    void decide(std::uint64_t block, const vault::Chunk& chunk);
    void finish(std::uint64_t disk_bytes);

    BlockRange range_;
    Fingerprint zero_;
    std::vector<State> states_;
    std::vector<std::unique_ptr<Page>> pages_;  // Holes cost none.
    std::uint64_t open_ = 0;
};

}  // namespace cw::recovery
