#include "cache/stored_backlog.h"

namespace cw::cache {

void StoredBacklog::add(pipeline::StoredRecord stored) {
    pipeline::Record& record = stored.record;
    Parked parked{stored.lsn, record.header, record.received, nullptr};
    // A record without data counts as complete wherever it comes: its table stays with it.
    const bool small = record.header.data_bytes == 0;
    if (small || (record.has_data() && resident_ + record.header.data_bytes <= max_)) {
        resident_ += record.header.data_bytes;
        parked.record = std::make_unique<pipeline::Record>(std::move(record));
    }
    parked_.push_back(std::move(parked));
}

bool StoredBacklog::flush(pipeline::Ring<pipeline::StoredRecord>& ring) {
    bool moved = false;
    while (!parked_.empty() && !ring.full()) {
        Parked& front = parked_.front();
        pipeline::StoredRecord out;
        out.lsn = front.lsn;
        if (front.record) {
            resident_ -= front.header.data_bytes;
            out.record = std::move(*front.record);
        } else {
            out.record.header = front.header;
            out.record.received = front.received;
        }
        parked_.pop_front();
        const bool pushed = ring.try_push(out);
        CW_ASSERT(pushed);  // Only this thread fills it.
        moved = true;
    }
    return moved;
}

}  // namespace cw::cache
