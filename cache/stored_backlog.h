// StoredBacklog: durable records on their way to the upload side, in order. When that side lags,
// payload beyond a limit is let go, to be read back from the spool: an outage costs disk, not
// memory. Thread-safety: none; the thread that fills the ring.
#pragma once

#include "pipeline/record.h"
#include "pipeline/ring.h"

#include <cstdint>
#include <deque>
#include <memory>

namespace cw::cache {

class StoredBacklog {
public:
    // At most `resident_bytes_max` of memory is kept for payload, here and in `ring` (which
    // outlives this, and which nobody else fills): whole slabs, however little of one a record
    // uses. Nothing is kept if that is less than a slab.
    StoredBacklog(pipeline::Ring<pipeline::StoredRecord>& ring, std::uint64_t resident_bytes_max)
        : ring_(ring), slabs_max_(resident_bytes_max / pipeline::slab_bytes) {}

    void add(pipeline::StoredRecord stored);
    // Pushes what the ring takes. Returns whether anything moved.
    bool flush();
    [[nodiscard]] bool empty() const noexcept { return parked_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return parked_.size(); }

private:
    // Small: what is kept per record however long the outage lasts.
    struct Parked {
        pipeline::Lsn lsn{};
        pipeline::RecordHeader header;
        Nanos received{};
        std::unique_ptr<pipeline::Record> record;  // Null once its payload was let go.
    };
    void forget_taken();

    pipeline::Ring<pipeline::StoredRecord>& ring_;
    std::uint64_t slabs_max_, slabs_ = 0;  // Of `parked_` and `handed_` together.
    std::deque<Parked> parked_;
    std::deque<std::size_t> handed_;  // Slabs of each record in the ring.
};

}  // namespace cw::cache
