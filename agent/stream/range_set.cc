#include "agent/stream/range_set.h"

#include "base/assert.h"

#include <algorithm>
#include <functional>
#include <iterator>

namespace cw::agent {

bool RangeSet::add(std::uint64_t offset, std::uint64_t length) {
    CW_ASSERT(length > 0 && offset < size_bytes_ && length <= size_bytes_ - offset);
    std::uint64_t from = offset / block_bytes * block_bytes;
    std::uint64_t to = std::min(align_up(offset + length, block_bytes), size_bytes_);
    auto first = ends_.upper_bound(from);
    if (first != ends_.begin() && std::prev(first)->second >= from) {
        --first;
    }
    auto last = first;
    std::uint64_t covered = 0;
    for (; last != ends_.end() && last->first <= to; ++last) {
        from = std::min(from, last->first);
        to = std::max(to, last->second);
        covered += last->second - last->first;
    }
    if (first == last && ends_.size() >= ranges_max_) {
        return false;
    }
    ends_.emplace_hint(ends_.erase(first, last), from, to);
    bytes_ += to - from - covered;
    return true;
}

bool RangeSet::merge(const RangeSet& other) {
    return std::ranges::all_of(other.ends_, [this](const auto& range) {
        return add(range.first, range.second - range.first);
    });
}

std::vector<RangeSet::Range> RangeSet::all() const {
    return within(0, size_bytes_);
}

std::vector<RangeSet::Range> RangeSet::within(std::uint64_t from, std::uint64_t to) const {
    std::vector<Range> out;
    auto at = ends_.upper_bound(from);
    if (at != ends_.begin() && std::prev(at)->second > from) {
        --at;
    }
    for (; at != ends_.end() && at->first < to; ++at) {
        const std::uint64_t begin = std::max(at->first, from);
        out.push_back({begin, std::min(at->second, to) - begin});
    }
    return out;
}

std::vector<RangeSet::Range> RangeSet::covering(std::vector<Range> ranges, std::size_t most) {
    CW_ASSERT(most > 0);
    if (ranges.size() <= most) {
        return ranges;
    }
    const auto gap_after = [&](std::size_t i) {
        return ranges[i + 1].offset - ranges[i].offset - ranges[i].length;
    };
    // The widest gaps stay open.
    std::vector<std::uint64_t> gaps(ranges.size() - 1);
    for (std::size_t i = 0; i < gaps.size(); ++i) {
        gaps[i] = gap_after(i);
    }
    std::size_t open = most - 1;
    std::ranges::nth_element(gaps, gaps.begin() + static_cast<std::ptrdiff_t>(open),
                             std::greater<>{});
    const std::uint64_t widest_closed = gaps[open];
    open -= static_cast<std::size_t>(
        std::count_if(gaps.begin(), gaps.begin() + static_cast<std::ptrdiff_t>(open),
                      [&](std::uint64_t gap) { return gap > widest_closed; }));
    std::vector<Range> out{ranges[0]};
    for (std::size_t i = 0; i + 1 < ranges.size(); ++i) {
        const bool tie = gap_after(i) == widest_closed && open > 0;
        open -= tie ? 1 : 0;
        if (tie || gap_after(i) > widest_closed) {
            out.push_back(ranges[i + 1]);
        } else {
            out.back().length = ranges[i + 1].offset + ranges[i + 1].length - out.back().offset;
        }
    }
    CW_ASSERT(out.size() <= most);
    return out;
}

}  // namespace cw::agent
