// RangeSet: which bytes of a disk, exact to the block, as a bounded list of disjoint ranges.
//
// What a dirty map of 64 KiB blocks only covers, this names: a fence over it reads no byte that did
// not change. Its memory is bounded by `ranges_max`, about 64 bytes each.
// Thread-safety: none.
#pragma once

#include "base/ids.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace cw::agent {

class RangeSet {
public:
    struct Range {
        std::uint64_t offset = 0, length = 0;
        friend bool operator==(const Range&, const Range&) = default;
    };
    // Of a disk of `size_bytes`. 0 ranges: takes nothing.
    RangeSet(std::uint64_t size_bytes, std::size_t ranges_max) noexcept
        : size_bytes_(size_bytes), ranges_max_(ranges_max) {}

    // Adds the blocks of 4 KiB that [offset, offset + length) touches; the last one ends with the
    // disk. length > 0, within the disk. False: there is no room for one more range; what was there
    // is unchanged.
    [[nodiscard]] bool add(std::uint64_t offset, std::uint64_t length);
    // False: there is no room for all of it; some of it may have been added.
    [[nodiscard]] bool merge(const RangeSet& other);
    void clear() noexcept {
        ends_.clear();
        bytes_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return ends_.empty(); }
    [[nodiscard]] std::size_t count() const noexcept { return ends_.size(); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    // Ascending, disjoint and not adjacent.
    [[nodiscard]] std::vector<Range> all() const;
    // The parts that lie in [from, to), ascending.
    [[nodiscard]] std::vector<Range> within(std::uint64_t from, std::uint64_t to) const;
    // At most `most` (> 0) ranges that cover all of these, which are as from all(): those nearest
    // to each other are joined.
    [[nodiscard]] static std::vector<Range> covering(std::vector<Range> ranges, std::size_t most);

private:
    std::uint64_t size_bytes_;
    std::size_t ranges_max_;
    std::uint64_t bytes_ = 0;
    std::map<std::uint64_t, std::uint64_t> ends_;  // Offset → end.
};

}  // namespace cw::agent
