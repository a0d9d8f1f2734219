// WELCOME: u16 version | u64 features | u32 session | u64 credit | u32 bulk connections |
//          192 fingerprint secret | u64 manifest number | 32 manifest hash | u16 disks |
//          per disk: u8 action | u64 generation | u64 durable | u64 committed | u8 resync open |
//                    u64 fence | u32 bitmap bytes | bitmap | text reason
#include "ingest/wire/codec.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"

#include <algorithm>

namespace cw::wire {
namespace {

// Bit per super-chunk of the largest disk.
constexpr std::uint32_t bitmap_bytes_max =
    static_cast<std::uint32_t>(disk_bytes_max / super_chunk_bytes / 8);
constexpr std::size_t fixed_bytes = 2 + 8 + 4 + 8 + 4 + fingerprint_secret_bytes + 8 + 32 + 2;
constexpr std::size_t disk_fixed_bytes = 1 + 8 + 8 + 8 + 1 + 8 + 4 + 2;

bool disk_is_consistent(const Welcome::Disk& disk) noexcept {
    return disk.committed <= disk.durable && (raw(disk.fence) != 0) == disk.resync_open &&
           (disk.resync_open || disk.base_durable.empty());
}

Result<Welcome::Disk> read_disk(ByteReader& reader) {
    Welcome::Disk disk;
    CW_TRY_ASSIGN(disk.action, read_enum(reader, DiskAction::catch_up));
    CW_TRY_ASSIGN(disk.generation, read_number<Generation>(reader));
    CW_TRY_ASSIGN(disk.durable, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.committed, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.resync_open, read_bool(reader));
    CW_TRY_ASSIGN(disk.fence, read_number<Seq>(reader));
    CW_TRY_ASSIGN(const std::uint32_t bytes,
                  read_bounded<std::uint32_t>(reader, 0, bitmap_bytes_max, "bitmap bytes"));
    CW_TRY_ASSIGN(const Bytes bitmap, reader.take(bytes));
    disk.base_durable.assign(bitmap.begin(), bitmap.end());
    CW_TRY_ASSIGN(disk.reason, reader.text16(reason_bytes_max));
    if (!disk_is_consistent(disk)) {
        return malformed("watermarks or fence of a disk contradict each other");
    }
    return disk;
}

}  // namespace

ByteVector encode(const Welcome& welcome) {
    CW_ASSERT(welcome.version >= 1 && raw(welcome.session) != 0);
    CW_ASSERT(welcome.disks.size() <= disks_max);
    CW_ASSERT(welcome.bulk_connections <= bulk_connections_max);
    ByteVector out;
    ByteAppender appender(out);
    appender.u16(welcome.version);
    appender.u64(welcome.features);
    appender.u32(raw(welcome.session));
    appender.u64(welcome.credit_bytes);
    appender.u32(welcome.bulk_connections);
    appender.bytes(welcome.fingerprint_secret);
    appender.u64(welcome.manifest_number);
    appender.bytes(welcome.manifest_hash);
    appender.u16(static_cast<std::uint16_t>(welcome.disks.size()));
    for (const Welcome::Disk& disk : welcome.disks) {
        CW_ASSERT(disk_is_consistent(disk));
        CW_ASSERT(disk.base_durable.size() <= bitmap_bytes_max);
        CW_ASSERT(disk.reason.size() <= reason_bytes_max);
        appender.u8(static_cast<std::uint8_t>(disk.action));
        appender.u64(raw(disk.generation));
        appender.u64(raw(disk.durable));
        appender.u64(raw(disk.committed));
        appender.u8(disk.resync_open ? 1 : 0);
        appender.u64(raw(disk.fence));
        appender.u32(static_cast<std::uint32_t>(disk.base_durable.size()));
        appender.bytes(disk.base_durable);
        appender.text16(disk.reason);
    }
    return out;
}

template <>
Result<Welcome> decode<Welcome>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Welcome welcome;
    CW_TRY_ASSIGN(welcome.version,
                  read_bounded<std::uint16_t>(reader, 1, protocol_version, "version"));
    CW_TRY_ASSIGN(welcome.features, reader.u64());
    CW_TRY_ASSIGN(welcome.session, read_number<SessionId>(reader));
    if (raw(welcome.session) == 0) {
        return malformed("session 0");
    }
    CW_TRY_ASSIGN(welcome.credit_bytes, reader.u64());
    CW_TRY_ASSIGN(welcome.bulk_connections,
                  read_bounded<std::uint32_t>(reader, 0, bulk_connections_max, "bulk connections"));
    CW_TRY_ASSIGN(welcome.fingerprint_secret, reader.array<fingerprint_secret_bytes>());
    CW_TRY_ASSIGN(welcome.manifest_number, reader.u64());
    CW_TRY_ASSIGN(welcome.manifest_hash, reader.array<32>());
    CW_TRY_ASSIGN(const std::uint16_t count,
                  read_bounded<std::uint16_t>(reader, 0, disks_max, "disk count"));
    welcome.disks.reserve(count);
    for (std::uint16_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(Welcome::Disk disk, read_disk(reader));
        welcome.disks.push_back(std::move(disk));
    }
    CW_TRY(expect_end(reader));
    return welcome;
}

void fit_to_frame(Welcome& welcome) {
    CW_ASSERT(welcome.disks.size() <= disks_max);
    std::size_t others = fixed_bytes, bitmaps = 0;
    for (const Welcome::Disk& disk : welcome.disks) {
        others += disk_fixed_bytes + disk.reason.size();
        bitmaps += disk.base_durable.size();
    }
    CW_ASSERT(others < control_payload_bytes_max);
    const std::size_t room = control_payload_bytes_max - others;
    for (Welcome::Disk& disk : welcome.disks) {
        if (bitmaps > room) {
            const std::size_t excess = std::min(bitmaps - room, disk.base_durable.size());
            disk.base_durable.resize(disk.base_durable.size() - excess);
            bitmaps -= excess;
        }
    }
    CW_ASSERT(bitmaps <= room);
}

}  // namespace cw::wire
