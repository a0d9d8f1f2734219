#include "recovery/failback_hint.h"

#include "base/assert.h"

#include <algorithm>
#include <bit>

namespace cw::recovery {

FailbackHint::Mask blocks_of_super(std::uint32_t ordinal, std::uint64_t disk_bytes) {
    const std::uint64_t offset = std::uint64_t{ordinal} * pipeline::super_chunk_bytes;
    CW_ASSERT(offset < disk_bytes);
    const std::uint64_t bytes =
        std::min<std::uint64_t>(pipeline::super_chunk_bytes, disk_bytes - offset);
    const std::uint64_t blocks = (bytes + digest_block_bytes - 1) / digest_block_bytes;
    return ~FailbackHint::Mask{0} >> (FailbackHint::blocks_per_super - blocks);
}

Result<FailbackHint> FailbackHint::create(const std::vector<ByteRange>& ranges,
                                          std::uint64_t disk_bytes, Random& random) {
    FailbackHint hint(disk_bytes, random.below(UINT64_MAX));
    hint.named_.resize((disk_bytes + pipeline::super_chunk_bytes - 1) /
                       pipeline::super_chunk_bytes);
    for (const ByteRange& range : ranges) {
        if (range.length == 0 || range.offset >= disk_bytes ||
            range.length > disk_bytes - range.offset) {
            return fail(Errc::usage, "the hint names " + std::to_string(range.length) +
                                         " bytes at " + std::to_string(range.offset) +
                                         ", the disk has " + std::to_string(disk_bytes));
        }
        const std::uint64_t last = (range.offset + range.length - 1) / digest_block_bytes;
        for (std::uint64_t block = range.offset / digest_block_bytes; block <= last; ++block) {
            hint.named_[block / blocks_per_super] |= Mask{1} << (block % blocks_per_super);
        }
    }
    return hint;
}

FailbackHint::Mask FailbackHint::sample(std::uint32_t ordinal) const {
    Mask others = blocks_of_super(ordinal, disk_bytes_) & ~named(ordinal);
    if (others == 0) {
        return 0;
    }
    // Mixed, so that no pattern of writes is missed run after run.
    std::uint64_t mixed = (seed_ ^ (ordinal + 1)) * 0x9E3779B97F4A7C15ULL;
    mixed ^= mixed >> 32;
    for (std::uint64_t skip = mixed % static_cast<unsigned>(std::popcount(others)); skip > 0;
         --skip) {
        others &= others - 1;  // Without its lowest.
    }
    return others & -others;
}

}  // namespace cw::recovery
