// What a server tells a running session: ACK, CREDIT, NAK, POINT_STATUS.
//
// ACK: u64 manifest number | 32 manifest hash | u16 disks | per disk: u16 slot | u64 received |
//      u64 spooled | u64 committed | u64 fence | u32 count + u32 ordinals (spooled) | the same
//      (committed)
// CREDIT: u64 cumulative bytes
// NAK: u16 slot | u8 reason | u64 expected | text detail
// POINT_STATUS: 16 id | u8 state | u64 manifest number | text reason
#include "ingest/wire/messages.h"

#include "ingest/wire/codec.h"
#include "ingest/wire/frame.h"

namespace cw::wire {
namespace {

constexpr std::uint32_t ordinal_max = disk_bytes_max / super_chunk_bytes - 1;

void append_ordinals(ByteAppender& appender, const std::vector<std::uint32_t>& ordinals) {
    appender.u32(static_cast<std::uint32_t>(ordinals.size()));
    for (const std::uint32_t ordinal : ordinals) {
        CW_ASSERT(ordinal <= ordinal_max);
        appender.u32(ordinal);
    }
}

// `budget` is what the frame's earlier lists have left of ack_ordinals_max.
Result<std::vector<std::uint32_t>> read_ordinals(ByteReader& reader, std::size_t& budget) {
    CW_TRY_ASSIGN(const std::uint32_t count, reader.u32());
    if (count > budget || count > reader.remaining() / 4) {
        return malformed("ordinal count " + std::to_string(count));
    }
    budget -= count;
    std::vector<std::uint32_t> ordinals(count);
    for (std::uint32_t& ordinal : ordinals) {
        CW_TRY_ASSIGN(ordinal, read_bounded<std::uint32_t>(reader, 0, ordinal_max, "ordinal"));
    }
    return ordinals;
}

bool disk_is_consistent(const Ack::Disk& disk) noexcept {
    return disk.slot < disks_max && disk.committed <= disk.spooled &&
           (raw(disk.fence) != 0 || (disk.base_spooled.empty() && disk.base_committed.empty()));
}

Result<Ack::Disk> read_disk(ByteReader& reader, std::size_t& budget) {
    Ack::Disk disk;
    CW_TRY_ASSIGN(disk.slot, reader.u16());
    CW_TRY_ASSIGN(disk.received, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.spooled, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.committed, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.fence, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.base_spooled, read_ordinals(reader, budget));
    CW_TRY_ASSIGN(disk.base_committed, read_ordinals(reader, budget));
    if (!disk_is_consistent(disk)) {
        return malformed("slot, watermarks or fence of an acknowledgement");
    }
    return disk;
}

}  // namespace

ByteVector encode(const Ack& ack) {
    CW_ASSERT(ack.disks.size() <= disks_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u64(ack.manifest_number);
    appender.bytes(ack.manifest_hash);
    appender.u16(static_cast<std::uint16_t>(ack.disks.size()));
    std::size_t ordinals = 0;
    for (const Ack::Disk& disk : ack.disks) {
        CW_ASSERT(disk_is_consistent(disk));
        appender.u16(disk.slot);
        appender.u64(raw(disk.received));
        appender.u64(raw(disk.spooled));
        appender.u64(raw(disk.committed));
        appender.u64(raw(disk.fence));
        append_ordinals(appender, disk.base_spooled);
        append_ordinals(appender, disk.base_committed);
        ordinals += disk.base_spooled.size() + disk.base_committed.size();
    }
    CW_ASSERT(ordinals <= ack_ordinals_max);
    return out;
}

template <>
Result<Ack> decode<Ack>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Ack ack;
    CW_TRY_ASSIGN(ack.manifest_number, reader.u64());
    CW_TRY_ASSIGN(ack.manifest_hash, reader.array<32>());
    CW_TRY_ASSIGN(const std::uint16_t count,
                  read_bounded<std::uint16_t>(reader, 0, disks_max, "disk count"));
    ack.disks.reserve(count);
    std::size_t budget = ack_ordinals_max;
    for (std::uint16_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(Ack::Disk disk, read_disk(reader, budget));
        ack.disks.push_back(std::move(disk));
    }
    CW_TRY(expect_end(reader));
    return ack;
}

ByteVector encode(const Credit& credit) {
    ByteVector out;
    ByteAppender(out).u64(credit.cumulative_bytes);
    return out;
}

template <>
Result<Credit> decode<Credit>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Credit credit;
    CW_TRY_ASSIGN(credit.cumulative_bytes, reader.u64());
    CW_TRY(expect_end(reader));
    return credit;
}

ByteVector encode(const Nak& nak) {
    CW_ASSERT(nak.slot < disks_max && raw(nak.expected) >= 1);
    CW_ASSERT(nak.detail.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u16(nak.slot);
    appender.u8(static_cast<std::uint8_t>(nak.reason));
    appender.u64(raw(nak.expected));
    appender.text16(nak.detail);
    return out;
}

template <>
Result<Nak> decode<Nak>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Nak nak;
    CW_TRY_ASSIGN(nak.slot, read_bounded<std::uint16_t>(reader, 0, disks_max - 1, "slot"));
    CW_TRY_ASSIGN(nak.reason, read_enum(reader, NakReason::conflict));
    CW_TRY_ASSIGN(nak.expected, read_number<Seq>(reader));
    CW_TRY_ASSIGN(nak.detail, reader.text16(reason_bytes_max));
    if (raw(nak.expected) == 0) {
        return malformed("expected sequence 0");
    }
    CW_TRY(expect_end(reader));
    return nak;
}

ByteVector encode(const PointStatus& status) {
    CW_ASSERT(!status.id.is_nil() && status.reason.size() <= reason_bytes_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.bytes(status.id.bytes);
    appender.u8(static_cast<std::uint8_t>(status.state));
    appender.u64(status.manifest_number);
    appender.text16(status.reason);
    return out;
}

template <>
Result<PointStatus> decode<PointStatus>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    PointStatus status;
    CW_TRY_ASSIGN(status.id.bytes, reader.array<16>());
    CW_TRY_ASSIGN(status.state, read_enum(reader, PointState::dropped));
    CW_TRY_ASSIGN(status.manifest_number, reader.u64());
    CW_TRY_ASSIGN(status.reason, reader.text16(reason_bytes_max));
    if (status.id.is_nil()) {
        return malformed("nil point id");
    }
    CW_TRY(expect_end(reader));
    return status;
}

}  // namespace cw::wire
