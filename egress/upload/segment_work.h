// SegmentWork: one segment on its way from records to a stored object. Owned by the assembly stage
// for its whole life; jobs and uploads borrow it.
#pragma once

#include "egress/upload/events.h"
#include "egress/vault/segment.h"
#include "pipeline/record.h"
#include "pipeline/transform.h"

#include <vector>

namespace cw::upload {

// All that is kept of a record whose payload was dropped: enough to read it back, to take it again
// after the machine was opened anew, and to release it.
struct HeldRecord {
    pipeline::Lsn lsn{};
    Seq seq{};
    std::uint64_t aux = 0;
    std::uint32_t seq_count = 0, ordinal = 0;
    std::uint32_t table_bytes = 0, data_bytes = 0, table_crc = 0;
    SessionId session{};

    static HeldRecord of(pipeline::Lsn lsn, const pipeline::RecordHeader& header) {
        return {.lsn = lsn,
                .seq = header.seq,
                .aux = header.aux,
                .seq_count = header.seq_count,
                .ordinal = header.ordinal,
                .table_bytes = header.table_bytes,
                .data_bytes = header.data_bytes,
                .table_crc = header.table_crc,
                .session = header.session};
    }
    [[nodiscard]] pipeline::RecordHeader header(const pipeline::StreamKey& key,
                                                pipeline::RecordType type) const {
        return {.key = key,
                .type = type,
                .session = session,
                .seq = seq,
                .seq_count = seq_count,
                .ordinal = ordinal,
                .aux = aux,
                .table_bytes = table_bytes,
                .data_bytes = data_bytes,
                .table_crc = table_crc};
    }
    [[nodiscard]] std::uint32_t slabs() const noexcept {
        return static_cast<std::uint32_t>((data_bytes + pipeline::slab_bytes - 1) /
                                          pipeline::slab_bytes);
    }
    // Most extents that its table can hold; exact counts need the table.
    [[nodiscard]] std::uint32_t extents_max() const noexcept;
};

enum class SegmentPhase : std::uint8_t {
    open,     // Still collecting.
    queued,   // Sealed, waits for a job.
    reading,  // Payload comes back from the spool.
    planned,  // Waits for slabs of the segment pool.
    transforming,
    ready,  // Bytes are final; waits for a lane.
    sending,
    stored,  // In the store; kept until it is committed.
    lost,    // Cannot be built: damaged in the cache.
};

struct SegmentWork {
    MachineId machine;
    Opening opening{};
    StepId step{};
    pipeline::StreamKey key;
    bool base = false;
    Seq after{};  // Writes: sequences at or below are not part of it. Base: the fence.
    Seq last{};   // Base: the fence.
    SegmentPhase phase = SegmentPhase::open;

    std::vector<HeldRecord> records;
    // Parallel to `records` while the payload is in memory, else empty.
    std::vector<pipeline::Record> payload;
    bool dropped = false;    // Payload was given up; what comes later is not kept either.
    bool read_back = false;  // The payload in memory came from the spool.
    std::uint64_t data_bytes = 0;
    std::uint32_t slabs = 0;
    std::uint32_t extents = 0;  // At most.
    Nanos received{};           // Of its first record.
    Nanos assembled{};
    Nanos deadline{};  // When it should be in the vault.

    // From the transform on.
    vault::SegmentRef ref;
    std::array<std::byte, vault::segment_header_bytes> header{};
    pipeline::SealedBody body;
    ByteVector tail;
    std::uint64_t object_crc64 = 0;  // Of header, body and tail, as they were verified.
    std::uint32_t failures = 0;      // Of building or sending, in a row.
    Nanos not_before{};              // A pause after a failure.
    Nanos put_started{};
    SegmentTimes times;
    bool orphaned = false;  // Its machine was stopped while a job or upload held it.

    SegmentWork() = default;
    SegmentWork(const SegmentWork&) = delete;
    SegmentWork& operator=(const SegmentWork&) = delete;

    [[nodiscard]] pipeline::RecordType record_type() const noexcept {
        return base ? pipeline::RecordType::base : pipeline::RecordType::write;
    }
    [[nodiscard]] Seq first() const noexcept { return base ? after : next(after); }
    [[nodiscard]] bool resident() const noexcept { return payload.size() == records.size(); }
    // True while a job or an upload works on it: it must stay where it is.
    [[nodiscard]] bool busy() const noexcept {
        return phase == SegmentPhase::reading || phase == SegmentPhase::planned ||
               phase == SegmentPhase::transforming || phase == SegmentPhase::sending;
    }
    void drop_payload() noexcept;
    void drop_object() noexcept;
    [[nodiscard]] std::uint64_t object_bytes() const noexcept {
        return header.size() + body.stored_bytes + tail.size();
    }
};

}  // namespace cw::upload
