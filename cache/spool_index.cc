#include "cache/spool_index.h"

#include <utility>

namespace cw::cache {

void SpoolIndex::insert(Lsn lsn, const Place& place) {
    const std::lock_guard lock(mutex_);
    const bool fresh = places_.emplace(lsn, place).second;
    CW_ASSERT(fresh);
}

std::optional<Place> SpoolIndex::find(Lsn lsn) const {
    const std::lock_guard lock(mutex_);
    const auto it = places_.find(lsn);
    return it == places_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<Place> SpoolIndex::relocate(Lsn lsn, const Place& place) {
    const std::lock_guard lock(mutex_);
    const auto it = places_.find(lsn);
    if (it == places_.end()) {
        return std::nullopt;
    }
    return std::exchange(it->second, place);
}

std::optional<Place> SpoolIndex::erase(Lsn lsn) {
    const std::lock_guard lock(mutex_);
    const auto it = places_.find(lsn);
    if (it == places_.end()) {
        return std::nullopt;
    }
    const Place place = it->second;
    places_.erase(it);
    return place;
}

std::optional<Place> SpoolIndex::acquire(Lsn lsn) {
    const std::lock_guard lock(mutex_);
    const auto it = places_.find(lsn);
    if (it == places_.end()) {
        return std::nullopt;
    }
    ++pins_[it->second.region];
    return it->second;
}

void SpoolIndex::unpin(std::uint32_t region) {
    const std::lock_guard lock(mutex_);
    CW_ASSERT(pins_[region] > 0);
    --pins_[region];
}

bool SpoolIndex::pinned(std::uint32_t region) const {
    const std::lock_guard lock(mutex_);
    return pins_[region] > 0;
}

std::optional<Lsn> SpoolIndex::oldest() const {
    const std::lock_guard lock(mutex_);
    return places_.empty() ? std::nullopt : std::optional(places_.begin()->first);
}

std::size_t SpoolIndex::size() const {
    const std::lock_guard lock(mutex_);
    return places_.size();
}

}  // namespace cw::cache
