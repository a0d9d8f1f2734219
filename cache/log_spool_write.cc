// How records get onto the device, in batches.
#include "base/crash_point.h"
#include "cache/log_spool.h"

#include <algorithm>

namespace cw::cache {
namespace {

// While others are in flight, a batch waits until it is worth a sync of its own.
constexpr std::uint64_t worth_a_sync_bytes = mib;

std::uint64_t footprint(const BatchItem& item) {
    return item.payload() + batch_record_bytes;
}

void assert_whole(const Record& record) {
    const RecordHeader& header = record.header;
    CW_ASSERT(record_header_valid(header));
    CW_ASSERT(record.table.bytes().size() == header.table_bytes);
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        CW_ASSERT(static_cast<bool>(record.slabs[i]));
    }
}

}  // namespace

bool LogSpool::append(Record& record) {
    if (failed_ || closed_) {
        return false;
    }
    assert_whole(record);
    const std::uint64_t payload = payload_bytes(record.header);
    CW_ASSERT(batch_header_bytes(1) + payload <= superblock_.region_bytes);
    // Twice a batch: one being gathered while the device is busy, and one to follow it at once.
    if (!pending_.empty() && pending_bytes_ + payload > 2ULL * options_.batch_bytes_max) {
        return false;
    }
    const std::uint64_t reserved_after = reserved_ - std::min(reserved_, payload);
    const std::uint64_t needed = payload + block_bytes;
    // What carries no data is granted no credit, so what is kept back is there for it. It must not
    // wait with the rest: a fence may be all that lets go of what fills the cache.
    const bool by_credit =
        record.header.type == RecordType::write || record.header.type == RecordType::base;
    if (by_credit ? !space_for(needed, reserved_after) : needed + reserved_after > writable()) {
        say_full();
        return false;
    }
    reserved_ = reserved_after;
    streams_.append(record.header);
    BatchItem item;
    item.record = std::move(record);
    pending_bytes_ += payload;
    pending_.push_back(std::move(item));
    CW_CRASH_POINT("cache.after_append");
    return true;
}

std::vector<Record> LogSpool::withdraw(const MachineId& machine) {
    std::vector<Record> out;
    std::deque<BatchItem> others;
    for (BatchItem& item : pending_) {
        if (item.record.header.key.machine == machine) {
            pending_bytes_ -= item.payload();
            out.push_back(std::move(item.record));
        } else {
            others.push_back(std::move(item));
        }
    }
    pending_ = std::move(others);
    if (out.empty()) {
        return out;
    }
    streams_.withdraw(machine, records_on_their_way(machine));
    return out;
}

std::vector<RecordHeader> LogSpool::records_on_their_way(const MachineId& machine) const {
    std::vector<RecordHeader> out;
    for (const auto& batch : in_flight_) {
        for (const BatchItem& item : batch->items()) {
            if (!item.moved && item.record.header.key.machine == machine) {
                out.push_back(item.record.header);
            }
        }
    }
    return out;
}

std::optional<StoredRecord> LogSpool::take_durable() {
    if (durable_.empty()) {
        return std::nullopt;
    }
    std::optional<StoredRecord> out(std::move(durable_.front()));
    durable_.pop_front();
    return out;
}

pipeline::Progress LogSpool::step(std::size_t budget) {
    bool worked = context_.disk.poll() > 0;
    if (failed_) {
        let_go();
    }
    if (closed_ || failed_) {
        return closed_ ? pipeline::Progress::drained : pipeline::Progress::blocked;
    }
    worked |= reap();
    worked |= clean();
    worked |= submit(budget);
    worked |= checkpoint_if_due();
    watch();
    if (worked) {
        return pipeline::Progress::worked;
    }
    return idle() ? pipeline::Progress::starved : pipeline::Progress::blocked;
}

// Nothing more becomes durable: whoever goes on without this spool has its memory again as soon as
// the device is done with it.
void LogSpool::let_go() {
    pending_.clear();
    moving_.clear();
    pending_bytes_ = moving_bytes_ = 0;
    std::erase_if(in_flight_, [](const auto& batch) { return batch->done(); });
}

bool LogSpool::fits_open(const BatchItem& item) const {
    return regions_.open() && batch_header_bytes(1) + item.payload() <= regions_.open_left();
}

bool LogSpool::has_room(const std::deque<BatchItem>& queue, bool may_use_reserve) const {
    // What moving has opened out of the reserve is for moving alone. A crash seals the open region,
    // whatever little is in it: with new records in there, each crash would cost a region for good.
    if (queue.empty() || (!may_use_reserve && regions_.ready() < reserve_regions)) {
        return false;
    }
    return fits_open(queue.front()) ||
           (next_named_ && (may_use_reserve || regions_.free_count() >= reserve_regions));
}

void LogSpool::switch_region() {
    if (regions_.open()) {
        regions_.seal_open(next_batch_, true);
    }
    regions_.open_next(next_batch_);
    next_named_ = false;
}

bool LogSpool::submit(std::size_t budget) {
    bool worked = false;
    while (!failed_ && budget-- > 0 && in_flight_.size() < options_.batches_in_flight &&
           submit_one()) {
        worked = true;
    }
    return worked;
}

bool LogSpool::submit_one() {
    if (!in_flight_.empty() && pending_bytes_ + moving_bytes_ < worth_a_sync_bytes && !closed_) {
        return false;  // Gather while the device is busy.
    }
    const bool take_new = has_room(pending_, false);
    if (!take_new && !has_room(moving_, true)) {
        return false;
    }
    if (!fits_open(take_new ? pending_.front() : moving_.front())) {
        switch_region();
    }
    start_batch(collect(take_new));
    return true;
}

// At least one record; as many as a batch and the open region hold. New ones first.
std::vector<BatchItem> LogSpool::collect(bool take_new) {
    std::vector<BatchItem> items;
    std::uint64_t payload = 0;
    unsigned parts = 1;
    const auto take_from = [&](std::deque<BatchItem>& queue) {
        while (!queue.empty() && items.size() < batch_records_max) {
            const BatchItem& item = queue.front();
            const std::uint64_t sum = payload + item.payload();
            const bool fits = (items.empty() || sum <= options_.batch_bytes_max) &&
                              batch_header_bytes(items.size() + 1) + sum <= regions_.open_left() &&
                              parts + item.parts() <= Batch::parts_max;
            if (!fits) {
                return;
            }
            payload = sum;
            parts += item.parts();
            items.push_back(std::move(queue.front()));
            queue.pop_front();
            if (BatchItem& taken = items.back(); !taken.moved) {
                pending_bytes_ -= taken.payload();
                // Not before: recovery bounds by these numbers what a loss may have taken, so what
                // is withdrawn must not use them up.
                taken.lsn = std::exchange(next_lsn_, Lsn{raw(next_lsn_) + 1});
            }
        }
    };
    if (take_new) {
        take_from(pending_);
    }
    take_from(moving_);
    CW_ASSERT(!items.empty());
    return items;
}

void LogSpool::start_batch(std::vector<BatchItem> items) {
    const std::uint32_t region = *regions_.open();
    RegionTable::Region& space = regions_.at(region);
    BatchHeader layout{.spool = superblock_.id,
                       .offset = superblock_.region_start(region) + space.used_bytes,
                       .epoch = space.entry.epoch,
                       .number = next_batch_++,
                       .durable_through = durable_through_,
                       .moved_before = last_moved_,
                       .records = {}};
    for (const BatchItem& item : items) {
        regions_.add_live(region, footprint(item));
    }
    in_flight_.push_back(std::make_unique<Batch>(std::move(layout), region, std::move(items)));
    Batch& batch = *in_flight_.back();
    space.used_bytes += batch.bytes();
    last_moved_ = batch.lowest_moved();
    regions_.batch_started(region);
    CW_CRASH_POINT("cache.before_write");
    batch.start(context_.disk, *log_, context_.clock.boot());
    CW_CRASH_POINT("cache.after_write");
}

bool LogSpool::reap() {
    const Nanos now = context_.clock.boot();
    for (const auto& batch : in_flight_) {
        if (!batch->done() || raw(batch->finished()) != 0) {
            continue;
        }
        batch->set_finished(now);
        sync_seconds_->observe(static_cast<double>(now - batch->started()) / ns_per_s);
        if (const auto result = batch->result(); !result) {
            fail_with(result.error());  // Never retried: who knows what the device has kept.
        }
    }
    bool worked = false;
    while (!failed_ && !in_flight_.empty() && in_flight_.front()->done()) {
        CW_CRASH_POINT("cache.after_sync");
        complete(*in_flight_.front());
        in_flight_.pop_front();
        worked = true;
    }
    return worked;
}

void LogSpool::complete(Batch& batch) {
    CW_ASSERT(batch.number() == durable_through_ + 1);
    durable_through_ = batch.number();
    const std::vector<Place> places = batch.layout().places();
    for (std::size_t i = 0; i < places.size(); ++i) {
        complete_item(batch, batch.items()[i], places[i]);
    }
    regions_.batch_finished(batch.region());
}

void LogSpool::complete_item(const Batch& batch, BatchItem& item, const Place& place) {
    CW_ASSERT(place.footprint() == footprint(item));
    if (!item.moved) {
        CW_ASSERT(item.lsn > durable_lsn_);
        durable_lsn_ = item.lsn;
        index_->insert(item.lsn, place);
        streams_.make_durable(item.record.header);
        durable_.push_back({item.lsn, std::move(item.record)});
        return;
    }
    moving_bytes_ -= item.payload();
    moved_total_->add(static_cast<double>(item.payload()));
    const auto old = index_->relocate(item.lsn, place);
    // Released on the way: then the copy is dead, and its old place was given up by release().
    regions_.drop_live(old ? old->region : batch.region(), place.footprint());
}

}  // namespace cw::cache
