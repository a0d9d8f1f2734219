// build_plan: from the extents of one disk between two barriers to the chunks of one segment.
//
// The last version of every byte wins; what it overwrites is not uploaded. Chunks are disjoint
// ranges of the disk in ascending order, at most chunk_bytes_max long, each one piece of memory
// where possible: fragments that lie next to each other both on the disk and in memory are one span
// without a copy. Small spans (< gather_span_bytes) that are neighbours on the disk share a chunk
// and are gathered by the worker; bigger ones are never copied. Zero and discard extents become
// holes: index entries without bytes.
//
// BASE data is planned apart: give a plan the extents of write records or of base records of one
// fence, never both. Cost: O(n log n) time, O(n) memory, n <= plan_extents_max.
#pragma once

#include "pipeline/compressor.h"
#include "pipeline/extent_table.h"

#include <span>
#include <vector>

namespace cw::pipeline {

// Bounds of one plan, so that the worst case (nothing compresses, every chunk tiny) still fits into
// a 64 MiB segment with its index: inputs, and the sum of the lengths of its write extents. The
// caller stops collecting before it exceeds them.
inline constexpr std::size_t plan_extents_max = 32 * 1024;
inline constexpr std::uint64_t plan_raw_bytes_max = 56 * mib;
// Upper bound of a plan's own memory per input, with what the transform notes per fragment.
inline constexpr std::size_t plan_bytes_per_extent = 512;
inline constexpr std::uint32_t gather_span_bytes = 64 * 1024;

// One captured extent. `record` is the caller's number of the record that carries its data.
struct PlanInput {
    std::uint32_t record = 0;
    std::uint32_t extent_index = 0;  // Within the record's table; for error reports.
    Seq seq{};                       // For base: the fence. Ties: the later input wins.
    Extent extent;
};

// An extent of which something survived; its CRC is checked again before the transform.
struct SourceExtent {
    std::uint32_t record = 0;
    std::uint32_t extent_index = 0;
    std::uint32_t data_position = 0;
    std::uint32_t length = 0;
    std::uint32_t crc = 0;
};

// A surviving part of a source extent; never crosses a slab of its record.
struct Fragment {
    std::uint32_t source = 0;  // Index into SegmentPlan::sources.
    std::uint32_t data_position = 0;
    std::uint32_t length = 0;
};

struct PlannedChunk {
    std::uint64_t disk_offset = 0;
    std::uint32_t length = 0;          // 1 sector .. chunk_bytes_max
    std::uint32_t first_fragment = 0;  // Its fragments in disk order.
    std::uint32_t fragment_count = 0;
    Seq last_seq{};       // Newest extent that survives in it.
    bool gather = false;  // The fragments are not one span of memory.
};

struct PlannedHole {
    Codec codec = Codec::zero;  // zero or discard
    std::uint64_t disk_offset = 0;
    std::uint64_t length = 0;
    Seq last_seq{};
};

struct SegmentPlan {
    std::vector<SourceExtent> sources;
    std::vector<Fragment> fragments;
    std::vector<PlannedChunk> chunks;
    std::vector<PlannedHole> holes;
    std::uint64_t raw_bytes = 0;        // Sum of the chunks' lengths.
    std::uint64_t coalesced_bytes = 0;  // Captured data that a newer write made superfluous.
    std::uint64_t gathered_bytes = 0;   // Will be copied once, into a worker's scratch.
};

// Asserts the bounds above and what extent_table.h promises of an extent.
SegmentPlan build_plan(std::span<const PlanInput> inputs);

}  // namespace cw::pipeline
