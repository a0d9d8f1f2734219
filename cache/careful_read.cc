#include "cache/careful_read.h"

#include "base/assert.h"

#include <algorithm>
#include <cstring>

namespace cw::cache {

std::uint64_t unreadable_bytes(const std::vector<Unreadable>& places) noexcept {
    std::uint64_t sum = 0;
    for (const Unreadable& place : places) {
        sum += place.length;
    }
    return sum;
}

void note_unreadable(std::vector<Unreadable>& places, std::uint64_t offset) {
    if (overlaps_any(places, offset, offset + block_bytes)) {
        return;
    }
    const auto after = std::ranges::lower_bound(places, offset, {}, &Unreadable::offset);
    auto at = places.insert(after, {offset, block_bytes});
    if (const auto next = at + 1; next != places.end() && at->end() == next->offset) {
        at->length += next->length;
        at = places.erase(next) - 1;
    }
    if (at != places.begin() && (at - 1)->end() == at->offset) {
        (at - 1)->length += at->length;
        places.erase(at);
    }
}

bool overlaps_any(const std::vector<Unreadable>& places, std::uint64_t from, std::uint64_t to) {
    return std::ranges::any_of(places,
                               [&](const Unreadable& place) { return place.overlaps(from, to); });
}

std::vector<Unreadable> read_carefully(Disk& disk, File& file, std::uint64_t offset,
                                       MutableBytes out) {
    CW_ASSERT(offset % block_bytes == 0 && out.size() % block_bytes == 0);
    std::vector<Unreadable> missed;
    const auto whole = read_at(disk, file, offset, out);
    if (whole && *whole == out.size()) {
        return missed;
    }
    for (std::uint64_t at = 0; at < out.size(); at += block_bytes) {
        const MutableBytes block = out.subspan(at, block_bytes);
        const unsigned allowed = unreadable_bytes(missed) < patience_bytes ? read_tries : 1;
        bool there = false;
        for (unsigned i = 0; i < allowed && !there; ++i) {
            const auto got = read_at(disk, file, offset + at, block);
            there = got && *got == block.size();
        }
        if (!there) {
            std::memset(block.data(), 0, block.size());
            note_unreadable(missed, offset + at);
        }
    }
    return missed;
}

}  // namespace cw::cache
