#include "cache/log_scan.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace cw::cache {

std::string to_string(const UnreadablePlace& what) {
    return "region " + std::to_string(what.region) + " cannot be read at offset " +
           std::to_string(what.place.offset) + ", " + std::to_string(what.place.length) + " bytes";
}

RegionEntry LogScan::known(std::uint32_t region) const {
    return checkpoint_ == nullptr ? RegionEntry{} : checkpoint_->regions[region];
}

void LogScan::run() {
    durable_through_ = checkpoint_ == nullptr ? 0 : checkpoint_->durable_through;
    highest_epoch_ = checkpoint_ == nullptr ? 0 : checkpoint_->epoch;
    scan_chains();
    // A batch that later ones call durable may be damaged: only what lies behind it can tell.
    search(unsealed_rests());
    search(holed_regions());
    collect_unreadable();
}

void LogScan::scan_chains() {
    std::vector<std::unique_ptr<RegionScan>> scans;
    for (std::uint32_t region = 1; region < target_.superblock.region_count(); ++region) {
        const std::uint64_t from = target_.superblock.region_start(region);
        scans.push_back(std::make_unique<RegionScan>(
            target_, RegionScan::Range{.region = region, .from = from, .epoch = 0, .deep = false}));
    }
    run_scans(target_.disk, scans);
    for (const auto& scan : scans) {
        take_chain(*scan);
    }
    update_mark();
}

void LogScan::take_chain(RegionScan& scan) {
    State& state = states_[scan.region()];
    const RegionEntry entry = known(scan.region());
    note(scan);
    const std::uint64_t epoch = scan.epoch();
    highest_epoch_ = std::max(highest_epoch_, epoch);
    state.recycled = checkpoint_ != nullptr && epoch > entry.epoch;
    const bool current = epoch == entry.epoch && entry.state != RegionState::free && epoch > 0;
    if (checkpoint_ != nullptr && !state.recycled && !current) {
        // Content of an earlier use, or none. If the region is in use, its start is damaged.
        state.epoch = entry.state == RegionState::free ? 0 : entry.epoch;
        state.stopped_at = target_.superblock.region_start(scan.region());
        return;
    }
    state.epoch = epoch;
    state.stopped_at = scan.stopped_at();
    for (FoundBatch& batch : scan.found()) {
        keep(std::move(batch));
    }
}

void LogScan::keep(FoundBatch batch) {
    const RegionEntry entry = known(batch.region);
    const std::uint64_t number = batch.header.number;
    const bool sealed = entry.state == RegionState::sealed && batch.header.epoch == entry.epoch;
    if (sealed && (number < entry.first_batch || number >= entry.end_batch)) {
        return;  // Left over from a torn tail that an earlier recovery dropped.
    }
    for (const BatchRecord& record : batch.header.records) {
        highest_lsn_ = std::max(highest_lsn_, record.lsn);
    }
    const auto it = batches_.find(number);
    if (it == batches_.end()) {
        batches_.emplace(number, std::move(batch));
    } else if (it->second.header.epoch < batch.header.epoch) {
        it->second = std::move(batch);  // Without a checkpoint, torn tails are seen here too.
    }
}

void LogScan::update_mark() {
    for (const auto& entry : batches_) {
        durable_through_ = std::max(durable_through_, entry.second.header.durable_through);
    }
}

std::vector<RegionScan::Range> LogScan::unsealed_rests() const {
    std::vector<RegionScan::Range> out;
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        const State& state = states_[region];
        const RegionEntry entry = known(region);
        const bool sealed = entry.state == RegionState::sealed && !state.recycled;
        if ((checkpoint_ == nullptr || state.epoch > 0) && !sealed) {
            out.push_back({region, state.stopped_at, state.epoch, true});
        }
    }
    return out;
}

std::vector<RegionScan::Range> LogScan::holed_regions() const {
    std::vector<RegionScan::Range> out;
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        const State& state = states_[region];
        const RegionEntry entry = known(region);
        if (entry.state != RegionState::sealed || state.recycled) {
            continue;
        }
        std::vector<BatchRun> holes;
        add_missing(entry.first_batch, entry.end_batch - 1, holes);
        if (!holes.empty()) {
            out.push_back({region, state.stopped_at, entry.epoch, true});
        }
    }
    return out;
}

void LogScan::search(const std::vector<RegionScan::Range>& ranges) {
    std::vector<std::unique_ptr<RegionScan>> scans;
    scans.reserve(ranges.size());
    for (const RegionScan::Range& range : ranges) {
        scans.push_back(std::make_unique<RegionScan>(target_, range));
    }
    run_scans(target_.disk, scans);
    for (const auto& scan : scans) {
        State& state = states_[scan->region()];
        note(*scan);
        for (const FoundBatch& batch : scan->found()) {
            state.epoch = std::max(state.epoch, batch.header.epoch);
        }
        highest_epoch_ = std::max(highest_epoch_, state.epoch);
        for (FoundBatch& batch : scan->found()) {
            if (batch.header.epoch == state.epoch) {
                keep(std::move(batch));
            }
        }
    }
    update_mark();
}

std::optional<std::uint64_t> LogScan::tail_start() const {
    if (checkpoint_ == nullptr) {
        return std::nullopt;
    }
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        if (known(region).state == RegionState::open) {
            if (!states_[region].recycled) {
                return known(region).first_batch;
            }
            // The checkpoint is one too old (the newer copy is damaged) and its open region is in
            // use again: the log goes on in the region that was to be the next.
            for (const auto& [number, batch] : batches_) {
                if (known(batch.region).state == RegionState::next) {
                    return number;
                }
            }
            return std::nullopt;
        }
    }
    return checkpoint_->next_batch;
}

void LogScan::add_missing(std::uint64_t first, std::uint64_t last,
                          std::vector<BatchRun>& out) const {
    std::uint64_t expected = first;
    const std::uint64_t end = std::min(last, durable_through_);
    for (auto it = batches_.lower_bound(first); expected <= end; ++it) {
        const std::uint64_t found = it == batches_.end() ? end + 1 : std::min(it->first, end + 1);
        if (found > expected) {
            out.push_back({expected, found - 1});
        }
        expected = found + 1;
        if (it == batches_.end()) {
            break;
        }
    }
}

std::vector<BatchRun> LogScan::missing() const {
    std::vector<BatchRun> out;
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        const RegionEntry entry = known(region);
        if (entry.state == RegionState::sealed && !states_[region].recycled) {
            add_missing(entry.first_batch, entry.end_batch - 1, out);
        }
    }
    if (const auto start = tail_start()) {
        add_missing(*start, durable_through_, out);
    }
    std::ranges::sort(out, {}, &BatchRun::first);
    return out;
}

FoundBatch* LogScan::find(std::uint64_t number) {
    const auto it = batches_.find(number);
    return it == batches_.end() ? nullptr : &it->second;
}

void LogScan::note(const RegionScan& scan) {
    for (const Unreadable& place : scan.unreadable()) {
        for (std::uint64_t at = place.offset; at < place.end(); at += block_bytes) {
            note_unreadable(states_[scan.region()].unreadable, at);
        }
    }
}

// What lies inside a batch that was found is that batch's affair.
void LogScan::collect_unreadable() {
    std::map<std::uint64_t, std::uint64_t> found;  // Ends by offsets.
    for (const auto& entry : batches_) {
        found[entry.second.header.offset] = entry.second.end();
    }
    const auto inside = [&](const Unreadable& place) {
        const auto behind = found.upper_bound(place.offset);
        return behind != found.begin() && place.end() <= std::prev(behind)->second;
    };
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        const bool used = states_[region].epoch > 0 || known(region).state != RegionState::free;
        for (const Unreadable& place : states_[region].unreadable) {
            if ((used || checkpoint_ == nullptr) && !inside(place)) {
                unreadable_.push_back({region, place});
            }
        }
    }
}

// Where the next batch of this region would begin, seen from batch `last`.
std::uint64_t LogScan::frontier(std::uint32_t region, std::uint64_t last) const {
    std::uint64_t at = target_.superblock.region_start(region);
    for (const auto& [number, batch] : batches_) {
        if (batch.region == region && number <= last) {
            at = std::max(at, batch.end());
        }
    }
    return at;
}

bool LogScan::header_begins(std::uint32_t region, std::uint64_t at, std::uint64_t number) const {
    AlignedBuffer first(block_bytes);
    if (!read_carefully(target_.disk, target_.file, at, first.bytes()).empty()) {
        return true;
    }
    const auto begun = peek_batch_header(first.bytes());
    return begun && begun->spool == target_.superblock.id && begun->offset == at &&
           begun->number == number &&
           (states_[region].epoch == 0 || begun->epoch == states_[region].epoch) &&
           overlaps_any(states_[region].unreadable, at, at + begun->header_bytes);
}

std::optional<UnreadablePlace> LogScan::unreadable_behind(std::uint64_t last) const {
    std::uint32_t region = 0;
    std::uint64_t at = 0;
    for (const UnreadablePlace& found : unreadable_) {
        const RegionEntry entry = known(found.region);
        if (entry.state == RegionState::sealed && !states_[found.region].recycled) {
            continue;  // Complete up to its end, which is not behind the mark.
        }
        at = region == found.region ? at : frontier(found.region, last);
        region = found.region;
        // The batch before is not found either: it may lie anywhere in here, and the next behind.
        const bool adrift = last > 0 && !batches_.contains(last) &&
                            entry.state == RegionState::open && entry.first_batch <= last;
        if (found.place.overlaps(at, at + block_bytes) || (adrift && found.place.end() > at) ||
            (found.place.overlaps(at, at + batch_header_bytes_max) &&
             header_begins(found.region, at, last + 1))) {
            return found;
        }
    }
    return std::nullopt;
}

std::uint64_t LogScan::drop_above(std::uint64_t last_kept) {
    const auto from = batches_.upper_bound(last_kept);
    const auto count = static_cast<std::uint64_t>(std::distance(from, batches_.end()));
    batches_.erase(from, batches_.end());
    return count;
}

std::vector<RegionEntry> LogScan::entries(std::uint64_t last_kept) const {
    struct Kept {
        std::uint64_t first = std::numeric_limits<std::uint64_t>::max(), end = 0;
    };
    std::vector<Kept> kept(states_.size());
    for (const auto& [number, batch] : batches_) {
        kept[batch.region].first = std::min(kept[batch.region].first, number);
        kept[batch.region].end = number + 1;
    }
    std::vector<RegionEntry> out(states_.size());
    for (std::uint32_t region = 1; region < states_.size(); ++region) {
        const RegionEntry entry = known(region);
        const State& state = states_[region];
        out[region].epoch = std::max(entry.epoch, state.epoch);
        if (kept[region].end == 0) {
            continue;
        }
        const bool same_use = !state.recycled && state.epoch == entry.epoch;
        const bool was_open = same_use && entry.state == RegionState::open;
        const bool was_sealed = same_use && entry.state == RegionState::sealed;
        out[region].state = RegionState::sealed;
        out[region].first_batch = was_open || was_sealed ? entry.first_batch : kept[region].first;
        // What is missing between this region and the next stays known as missing. Numbers above
        // the last kept one will be given out again, so no region may claim them.
        const auto after = batches_.lower_bound(kept[region].end);
        const std::uint64_t follows = after == batches_.end() ? last_kept + 1 : after->first;
        out[region].end_batch = std::min(was_sealed ? entry.end_batch : follows, last_kept + 1);
    }
    return out;
}

}  // namespace cw::cache
