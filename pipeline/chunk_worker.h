// ChunkWorker: one compute worker's codecs and scratch memory, and the work on one group of chunks.
// Internal to the transform. Thread-safety: none; one per worker.
#pragma once

#include "pipeline/body_space.h"
#include "pipeline/transform.h"

namespace cw::pipeline {

// Consecutive chunks of a plan, about 1 MiB: big enough that handing them over costs nothing, small
// enough to stay in the cache from the CRC to the comparison.
inline constexpr std::uint64_t group_bytes_max = chunk_bytes_max;
inline constexpr std::size_t group_chunks_max = 256;

struct ChunkGroup {
    std::size_t first_chunk = 0;
    std::size_t chunk_count = 0;
};

struct GroupOutput {
    std::vector<SealedChunk> sealed;  // Adjacent in the body, in ordinal order.
    std::vector<PlannedHole> holes;   // Zero runs that were found.
    std::uint64_t body_offset = 0;
    std::uint64_t body_bytes = 0;
    std::uint64_t crc64 = 0;  // Of those bytes.
};

// What the workers of one job share.
struct GroupContext {
    const TransformRequest& request;
    BodySpace& space;
    std::span<std::uint32_t> fragment_crcs;  // One per fragment of the plan; each written once.
};

class ChunkWorker {
public:
    ChunkWorker();
    // Errors: internal (what was sealed does not open to the original).
    Result<GroupOutput> run(const GroupContext& context, const ChunkGroup& group);

private:
    // A range to be sealed: `raw` in a slab or in gathered_, `stored` in packed_ or the same as
    // raw.
    struct Part {
        Bytes raw, stored;
        SealedChunk fields;
    };
    Bytes materialise(const GroupContext& context, const PlannedChunk& chunk);
    void split(const GroupContext& context, const PlannedChunk& chunk, Bytes raw, GroupOutput& out);
    void add_part(const GroupContext& context, const PlannedChunk& chunk, std::size_t from,
                  Bytes raw);
    void seal(const GroupContext& context, GroupOutput& out);
    Result<void> verify(const GroupContext& context, const Part& part);

    Compressor compressor_;
    std::unique_ptr<std::byte[]> gathered_, packed_, opened_, unpacked_;
    std::size_t gathered_bytes_ = 0, packed_bytes_ = 0;
    std::vector<Part> parts_;
};

}  // namespace cw::pipeline
