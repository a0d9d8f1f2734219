// FailbackHint: which parts of an old disk may differ from a point, as bitmaps tell: everything
// written on either side since the two were the same. It saves reading the rest of the old disk.
//
// A hint is not proof. Of what it leaves out, one block of every super-chunk, another one each run,
// is compared all the same; one that differs refutes the whole hint. A value.
#pragma once

#include "base/random.h"
#include "pipeline/extent_table.h"
#include "recovery/block_digests.h"
#include "recovery/image.h"

#include <cstdint>
#include <vector>

namespace cw::recovery {

class FailbackHint {
public:
    static constexpr unsigned blocks_per_super = pipeline::super_chunk_bytes / digest_block_bytes;
    // Bit i: block i of a super-chunk.
    using Mask = std::uint64_t;
    static_assert(blocks_per_super == 64);

    // Errors: usage (a range that is empty, or lies beyond the disk).
    static Result<FailbackHint> create(const std::vector<ByteRange>& ranges,
                                       std::uint64_t disk_bytes, Random& random);
    // Those that may differ.
    [[nodiscard]] Mask named(std::uint32_t ordinal) const { return named_.at(ordinal); }
    // One of the others, or none if there are none.
    [[nodiscard]] Mask sample(std::uint32_t ordinal) const;

private:
    FailbackHint(std::uint64_t disk_bytes, std::uint64_t seed)
        : disk_bytes_(disk_bytes), seed_(seed) {}

    std::uint64_t disk_bytes_;
    std::uint64_t seed_;
    std::vector<Mask> named_;
};

// The blocks that a super-chunk has: fewer at the end of the disk.
FailbackHint::Mask blocks_of_super(std::uint32_t ordinal, std::uint64_t disk_bytes);

}  // namespace cw::recovery
