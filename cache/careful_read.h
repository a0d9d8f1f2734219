// Reading what a device may refuse: again, and block by block, so that one bad sector costs one
// block; and what could not be read. Used at recovery, where a place that cannot be read must not
// be taken for a place where nothing was written.
#pragma once

#include "base/disk.h"
#include "base/ids.h"

#include <cstdint>
#include <vector>

namespace cw::cache {

// A run of whole blocks that could not be read.
struct Unreadable {
    std::uint64_t offset = 0, length = 0;  // In the file.
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; }
    [[nodiscard]] bool overlaps(std::uint64_t from, std::uint64_t to) const noexcept {
        return offset < to && from < end();
    }
    friend bool operator==(const Unreadable&, const Unreadable&) = default;
};

// How often a single block is tried.
inline constexpr unsigned read_tries = 4;
// A device that refuses this much is not asked again for each block.
inline constexpr std::uint64_t patience_bytes = mib;

std::uint64_t unreadable_bytes(const std::vector<Unreadable>& places) noexcept;
// Adds the block at `offset`; blocks come in any order, twice too. Ascending, merged.
void note_unreadable(std::vector<Unreadable>& places, std::uint64_t offset);
bool overlaps_any(const std::vector<Unreadable>& places, std::uint64_t from, std::uint64_t to);

// Reads [offset, offset + out.size()), whole blocks. What stays unreadable is zero in `out` and
// returned; so is what lies behind the end of the file. Blocking, like read_at().
std::vector<Unreadable> read_carefully(Disk& disk, File& file, std::uint64_t offset,
                                       MutableBytes out);

}  // namespace cw::cache
