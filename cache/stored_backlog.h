// StoredBacklog: durable records on their way to the upload side, in order. When that side lags,
// payload beyond a limit is let go, to be read back from the spool: an outage costs disk, not
// memory. Thread-safety: none.
#pragma once

#include "pipeline/record.h"
#include "pipeline/ring.h"

#include <cstdint>
#include <deque>
#include <memory>

namespace cw::cache {

class StoredBacklog {
public:
    explicit StoredBacklog(std::uint64_t resident_bytes_max) : max_(resident_bytes_max) {}

    void add(pipeline::StoredRecord stored);
    // Pushes what the ring takes. Returns whether anything moved.
    bool flush(pipeline::Ring<pipeline::StoredRecord>& ring);
    [[nodiscard]] bool empty() const noexcept { return parked_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return parked_.size(); }
    [[nodiscard]] std::uint64_t resident_bytes() const noexcept { return resident_; }

private:
    // Small: what is kept per record however long the outage lasts.
    struct Parked {
        pipeline::Lsn lsn{};
        pipeline::RecordHeader header;
        Nanos received{};
        std::unique_ptr<pipeline::Record> record;  // Null once its payload was let go.
    };

    std::uint64_t max_, resident_ = 0;
    std::deque<Parked> parked_;
};

}  // namespace cw::cache
