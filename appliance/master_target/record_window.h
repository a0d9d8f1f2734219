// RecordWindow: durable records out of the spool's ring, whole and in append order. What comes
// without its payload is read back from the cache, a few records ahead of the one that is taken.
//
// Thread-safety: none; the volume stage's thread. Only stored() has its producer elsewhere.
#pragma once

#include "egress/upload/ports.h"
#include "pipeline/ring.h"
#include "pipeline/slab.h"

#include <deque>
#include <memory>
#include <optional>

namespace cw::appliance {

class RecordWindow {
public:
    static constexpr std::size_t records_ahead = 4;
    static constexpr std::size_t readback_slabs_min =
        records_ahead * pipeline::slabs_per_record_max;

    // Both outlive the window; `slabs` has at least readback_slabs_min.
    RecordWindow(upload::RecordReader& reader, pipeline::SlabPool& slabs);

    pipeline::Ring<pipeline::StoredRecord>& stored() noexcept { return stored_; }
    // Takes from the ring, and begins to read what lacks payload. True: something moved.
    bool fill();
    // The next record once it is whole or known to be unreadable, otherwise null.
    [[nodiscard]] pipeline::StoredRecord* front() noexcept;
    // Why the front cannot be read, if so.
    [[nodiscard]] const Error* unreadable() const noexcept;
    void pop_front() { slots_.pop_front(); }

    [[nodiscard]] bool empty() const noexcept { return slots_.empty() && stored_.empty(); }
    // A record waits for what has no bell: a slab, or its turn.
    [[nodiscard]] bool waits_silently() const noexcept {
        return !slots_.empty() && reader_.in_flight() == 0;
    }

private:
    struct Slot {
        pipeline::StoredRecord stored;
        bool reading = false;
        std::optional<Result<void>> read;  // Of a record that came without payload.
    };
    bool start_read(Slot& slot);

    upload::RecordReader& reader_;
    pipeline::SlabPool& slabs_;
    pipeline::Ring<pipeline::StoredRecord> stored_{256};
    std::deque<std::unique_ptr<Slot>> slots_;  // In order; stable while they are read.
};

}  // namespace cw::appliance
