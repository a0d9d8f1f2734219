#include "cache/region_table.h"

namespace cw::cache {

RegionTable::RegionTable(std::uint32_t region_count, std::uint64_t region_bytes)
    : region_bytes_(region_bytes), regions_(region_count), free_(region_count - 1) {
    CW_ASSERT(region_count >= 2);
}

RegionTable::Region& RegionTable::at(std::uint32_t region) {
    CW_ASSERT(region > 0 && region < regions_.size());
    return regions_[region];
}

const RegionTable::Region& RegionTable::at(std::uint32_t region) const {
    CW_ASSERT(region > 0 && region < regions_.size());
    return regions_[region];
}

void RegionTable::make_next(std::uint32_t region, std::uint64_t epoch) {
    Region& r = at(region);
    CW_ASSERT(!next_ && r.entry.state == RegionState::free && epoch > r.entry.epoch);
    r.entry = {.state = RegionState::next, .epoch = epoch, .first_batch = 0, .end_batch = 0};
    next_ = region;
    --free_;
}

void RegionTable::open_next(std::uint64_t first_batch) {
    CW_ASSERT(next_ && !open_);
    Region& r = at(*next_);
    CW_ASSERT(r.live_bytes == 0 && r.used_bytes == 0);
    r.entry.state = RegionState::open;
    r.entry.first_batch = first_batch;
    open_ = next_;
    next_.reset();
}

void RegionTable::seal_open(std::uint64_t end_batch, bool full) {
    CW_ASSERT(open_);
    const std::uint32_t region = *open_;
    Region& r = at(region);
    r.entry.state = RegionState::sealed;
    r.entry.end_batch = end_batch;
    r.full = full;
    sealed_used_ += r.used_bytes;
    open_.reset();
    free_if_dead(region);
}

void RegionTable::restore(std::uint32_t region, const RegionEntry& entry,
                          std::uint64_t used_bytes) {
    Region& r = at(region);
    CW_ASSERT(r.entry.state == RegionState::free);
    r.entry = entry;
    if (entry.state == RegionState::free) {
        return;
    }
    CW_ASSERT(entry.state == RegionState::sealed);
    r.used_bytes = used_bytes;
    sealed_used_ += used_bytes;
    --free_;
    // The caller holds it until it has counted what lives in it.
    r.batches_unsynced = 1;
}

void RegionTable::add_live(std::uint32_t region, std::uint64_t bytes) {
    at(region).live_bytes += bytes;
    live_ += bytes;
}

void RegionTable::drop_live(std::uint32_t region, std::uint64_t bytes) {
    Region& r = at(region);
    CW_ASSERT(r.live_bytes >= bytes && live_ >= bytes);
    r.live_bytes -= bytes;
    live_ -= bytes;
    free_if_dead(region);
}

void RegionTable::batch_finished(std::uint32_t region) {
    CW_ASSERT(at(region).batches_unsynced > 0);
    --at(region).batches_unsynced;
    free_if_dead(region);
}

void RegionTable::free_if_dead(std::uint32_t region) {
    Region& r = at(region);
    if (r.entry.state != RegionState::sealed || r.live_bytes > 0 || r.batches_unsynced > 0) {
        return;
    }
    sealed_used_ -= r.used_bytes;
    r.entry.state = RegionState::free;
    r.used_bytes = 0;
    r.damaged = r.full = false;
    ++free_;
}

std::optional<std::uint32_t> RegionTable::emptiest(unsigned quarters_max) const {
    // The unused end of a full region would be lost again where its content goes: large records
    // that fit no other way would be moved round and round.
    const auto live_max = [&](const Region& region) {
        return (region.full ? region.used_bytes : region_bytes_) / 4 * quarters_max;
    };
    std::optional<std::uint32_t> best;
    for (std::uint32_t region = 1; region < count(); ++region) {
        const Region& r = regions_[region];
        if (r.entry.state == RegionState::sealed && !r.damaged && r.batches_unsynced == 0 &&
            r.live_bytes <= live_max(r) && (!best || r.live_bytes < regions_[*best].live_bytes)) {
            best = region;
        }
    }
    return best;
}

std::uint64_t RegionTable::open_left() const {
    return open_ ? region_bytes_ - at(*open_).used_bytes : 0;
}

std::uint64_t RegionTable::writable_bytes(std::uint32_t reserve) const {
    const std::uint32_t whole = ready();
    return whole < reserve ? 0 : open_left() + (whole - reserve) * region_bytes_;
}

std::uint64_t RegionTable::used_bytes() const {
    return sealed_used_ + (open_ ? at(*open_).used_bytes : 0);
}

std::vector<RegionEntry> RegionTable::entries() const {
    std::vector<RegionEntry> out;
    out.reserve(regions_.size());
    for (const Region& r : regions_) {
        out.push_back(r.entry);
    }
    return out;
}

}  // namespace cw::cache
