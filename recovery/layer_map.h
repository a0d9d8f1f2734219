// LayerMap: which chunk supplies each byte of a disk at a point.
//
// Order, oldest first: ancestors' generations before their descendants; within a generation chunks
// by last sequence, base data counting as its fence (above everything before the fence, below
// everything after it, whatever order it was uploaded in); within one segment by ordinal.
// The map is built from the newest layer down, so that only bytes not yet covered are taken and
// what is hidden costs no memory.
#pragma once

#include "egress/vault/segment.h"

#include <map>
#include <span>
#include <vector>

namespace cw::recovery {

// A part of one segment with one place in the order: whole, unless a fence lies within it.
struct Layer {
    const vault::SegmentRef* ref = nullptr;
    Seq from{};  // Chunks whose last sequence is in [from, to].
    Seq to{};
};

// Newest first. `segments` as from Catalog::segments_of(). A write segment that spans a fence is
// cut there.
std::vector<Layer> order_layers(std::span<const vault::SegmentRef* const> segments);

// The layer's own of its segment's `chunks`, newest first. Pointers into `chunks`.
std::vector<const vault::Chunk*> newest_first(const Layer& layer,
                                              const std::vector<vault::Chunk>& chunks);

// What is needed to fetch and open a chunk.
struct MappedChunk {
    std::uint32_t segment = 0;  // As given to lay_under().
    std::uint32_t ordinal = 0;
    std::uint64_t disk_offset = 0;
    std::uint32_t raw_length = 0;
    std::uint32_t stored_offset = 0;
    std::uint32_t stored_length = 0;
    vault::Codec codec{};
    Seq last_seq{};
    GcmTag tag{};
    [[nodiscard]] vault::Chunk fields() const;
};

class LayerMap {
public:
    static constexpr std::uint32_t zero_chunk = 0xffffffff;  // Known to be zero: no bytes to fetch.
    struct Piece {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::uint32_t chunk = zero_chunk;  // Index into chunks().
    };

    explicit LayerMap(std::uint64_t disk_bytes) : disk_bytes_(disk_bytes) {}

    // Fills what is still uncovered from the layer's chunks. Newest layers first. Parts beyond the
    // end of the disk are left out.
    void lay_under(std::uint32_t segment, const Layer& layer,
                   const std::vector<vault::Chunk>& chunks);
    // True when nothing below can be seen any more.
    [[nodiscard]] bool complete() const noexcept { return covered_ == disk_bytes_; }

    // The pieces of [offset, offset + length) in order, without gaps; what no layer wrote is zero.
    // The range lies within the disk.
    [[nodiscard]] std::vector<Piece> pieces(std::uint64_t offset, std::uint64_t length) const;
    [[nodiscard]] const MappedChunk& chunk(std::uint32_t index) const { return chunks_.at(index); }
    [[nodiscard]] std::uint64_t disk_bytes() const noexcept { return disk_bytes_; }
    // Bytes that some chunk stores (an upper bound of what a restore must fetch, uncompressed).
    [[nodiscard]] std::uint64_t data_bytes() const noexcept { return data_; }
    [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

private:
    struct Span {
        std::uint64_t end = 0;
        std::uint32_t chunk = zero_chunk;
    };
    void fill(std::uint32_t segment, const vault::Chunk& chunk);
    void insert(std::uint64_t begin, std::uint64_t end, std::uint32_t chunk);

    std::uint64_t disk_bytes_;
    std::uint64_t covered_ = 0;
    std::uint64_t data_ = 0;
    std::map<std::uint64_t, Span> spans_;  // By begin; disjoint.
    std::vector<MappedChunk> chunks_;
};

}  // namespace cw::recovery
