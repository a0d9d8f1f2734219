// RegionTable: what each region of the spool file is for, how full it is and how much of it lives.
//
// free → next (named by a checkpoint) → open (being written) → sealed → free, when nothing in it
// lives. One region is open at most, one is next at most. Region 0 holds no records.
// Thread-safety: none; the spool's thread.
#pragma once

#include "cache/spool_format.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace cw::cache {

// Regions that new records never take: moving, and starting again after a crash, need room to go.
inline constexpr std::uint32_t reserve_regions = 2;

class RegionTable {
public:
    struct Region {
        RegionEntry entry;
        std::uint64_t used_bytes = 0;  // From its start: headers, tables, data.
        std::uint64_t live_bytes = 0;  // Payload of records not released, also of unsynced ones.
        std::uint64_t batches_unsynced = 0;
        bool damaged = false;  // Something in it cannot be read: it is not moved, only released.
        bool full = false;     // What came next did not fit: its unused end is of use to nobody.
    };

    RegionTable(std::uint32_t region_count, std::uint64_t region_bytes);

    [[nodiscard]] Region& at(std::uint32_t region);
    [[nodiscard]] const Region& at(std::uint32_t region) const;
    [[nodiscard]] std::optional<std::uint32_t> open() const noexcept { return open_; }
    [[nodiscard]] std::optional<std::uint32_t> next() const noexcept { return next_; }
    [[nodiscard]] std::uint32_t free_count() const noexcept { return free_; }
    // Regions that can be written one after the other from now on, besides the open one.
    [[nodiscard]] std::uint32_t ready() const noexcept { return free_ + (next_ ? 1 : 0); }

    // The free region that has been free for the longest: `usable(region)` may refuse one.
    template <typename Usable>
    [[nodiscard]] std::optional<std::uint32_t> pick_free(Usable usable) const;
    void make_next(std::uint32_t region, std::uint64_t epoch);
    // The next region becomes the open one; its first batch will be `first_batch`. No region may be
    // open.
    void open_next(std::uint64_t first_batch);
    void seal_open(std::uint64_t end_batch, bool full);
    // Recovery: the region holds `entry` (sealed) of that many bytes.
    void restore(std::uint32_t region, const RegionEntry& entry, std::uint64_t used_bytes);

    void add_live(std::uint32_t region, std::uint64_t bytes);
    // Payload died: released, or moved away. Frees the region when it was the last.
    void drop_live(std::uint32_t region, std::uint64_t bytes);
    void batch_started(std::uint32_t region) { ++at(region).batches_unsynced; }
    void batch_finished(std::uint32_t region);

    // The sealed region with the least live payload, at most so many quarters of what moving it
    // sets free and takes; nothing when there is none.
    [[nodiscard]] std::optional<std::uint32_t> emptiest(unsigned quarters_max) const;

    // Bytes that new batches can still take before the last `reserve` regions: whole free regions
    // and the rest of the open one. Nothing while the open one is itself out of the reserve.
    [[nodiscard]] std::uint64_t writable_bytes(std::uint32_t reserve) const;
    [[nodiscard]] std::uint64_t open_left() const;
    [[nodiscard]] std::uint64_t live_bytes() const noexcept { return live_; }
    [[nodiscard]] std::uint64_t used_bytes() const;
    [[nodiscard]] std::vector<RegionEntry> entries() const;
    [[nodiscard]] std::uint32_t count() const noexcept {
        return static_cast<std::uint32_t>(regions_.size());
    }

private:
    void free_if_dead(std::uint32_t region);

    std::uint64_t region_bytes_;
    std::vector<Region> regions_;
    std::optional<std::uint32_t> open_, next_;
    std::uint32_t free_;  // Regions in state free.
    std::uint64_t live_ = 0;
    std::uint64_t sealed_used_ = 0;
};

template <typename Usable>
std::optional<std::uint32_t> RegionTable::pick_free(Usable usable) const {
    std::optional<std::uint32_t> best;
    for (std::uint32_t r = 1; r < count(); ++r) {
        const RegionEntry& entry = regions_[r].entry;
        if (entry.state == RegionState::free &&
            (!best || entry.epoch < regions_[*best].entry.epoch) && usable(r)) {
            best = r;
        }
    }
    return best;
}

}  // namespace cw::cache
