#include "cache/ordinal_set.h"

#include "base/assert.h"

#include <algorithm>
#include <iterator>

namespace cw::cache {

bool OrdinalSet::insert(std::uint32_t ordinal) {
    if (contains(ordinal)) {
        return false;
    }
    insert_range(ordinal, ordinal);
    return true;
}

void OrdinalSet::insert_range(std::uint32_t first, std::uint32_t last) {
    CW_ASSERT(first <= last);
    auto it = ranges_.upper_bound(first);
    if (it != ranges_.begin()) {
        const auto before = std::prev(it);
        // Compared in 64 bits: the last ordinal of all must not wrap to 0.
        if (std::uint64_t{before->second} + 1 >= first) {
            first = before->first;
            last = std::max(last, before->second);
            it = ranges_.erase(before);
        }
    }
    while (it != ranges_.end() && it->first <= std::uint64_t{last} + 1) {
        last = std::max(last, it->second);
        it = ranges_.erase(it);
    }
    ranges_.emplace(first, last);
}

void OrdinalSet::erase(std::uint32_t ordinal) {
    auto it = ranges_.upper_bound(ordinal);
    if (it == ranges_.begin() || (--it)->second < ordinal) {
        return;
    }
    const auto [first, last] = *it;
    ranges_.erase(it);
    if (first < ordinal) {
        ranges_.emplace(first, ordinal - 1);
    }
    if (ordinal < last) {
        ranges_.emplace(ordinal + 1, last);
    }
}

bool OrdinalSet::contains(std::uint32_t ordinal) const {
    const auto it = ranges_.upper_bound(ordinal);
    return it != ranges_.begin() && std::prev(it)->second >= ordinal;
}

std::vector<std::uint32_t> OrdinalSet::to_vector() const {
    std::vector<std::uint32_t> out;
    for (const auto& [first, last] : ranges_) {
        for (std::uint64_t ordinal = first; ordinal <= last; ++ordinal) {
            out.push_back(static_cast<std::uint32_t>(ordinal));
        }
    }
    return out;
}

}  // namespace cw::cache
