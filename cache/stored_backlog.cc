#include "cache/stored_backlog.h"

namespace cw::cache {

void StoredBacklog::forget_taken() {
    for (std::size_t left = ring_.size(); handed_.size() > left; handed_.pop_front()) {
        slabs_ -= handed_.front();
    }
}

void StoredBacklog::add(pipeline::StoredRecord stored) {
    forget_taken();
    pipeline::Record& record = stored.record;
    Parked parked{stored.lsn, record.header, record.received, nullptr};
    // A record without data counts as complete wherever it comes: its table stays with it.
    const std::size_t slabs = record.slab_count();
    if (record.has_data() && (slabs == 0 || slabs_ + slabs <= slabs_max_)) {
        slabs_ += slabs;
        parked.record = std::make_unique<pipeline::Record>(std::move(record));
    }
    parked_.push_back(std::move(parked));
}

bool StoredBacklog::flush() {
    forget_taken();
    bool moved = false;
    while (!parked_.empty() && !ring_.full()) {
        Parked& front = parked_.front();
        pipeline::StoredRecord out;
        out.lsn = front.lsn;
        if (front.record) {
            out.record = std::move(*front.record);
        } else {
            out.record.header = front.header;
            out.record.received = front.received;
        }
        handed_.push_back(front.record ? out.record.slab_count() : 0);
        parked_.pop_front();
        const bool pushed = ring_.try_push(out);
        CW_ASSERT(pushed);  // Only this thread fills it.
        moved = true;
    }
    return moved;
}

}  // namespace cw::cache
