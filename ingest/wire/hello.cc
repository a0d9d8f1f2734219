// HELLO: u16 version min | u16 version max | u64 features | u32 joins | text software |
//        text machine name | u64 boot counter | u64 witness number | 32 witness hash | u16 disks |
//        per disk: 16 id | u64 size | u64 generation | u64 next | u64 oldest held |
//                  u8 catch-up possible | text name
// A text is a u16 length and its bytes.
#include "ingest/wire/codec.h"
#include "ingest/wire/messages.h"

#include <set>

namespace cw::wire {
namespace {

bool size_is_valid(std::uint64_t size) noexcept {
    return size > 0 && size <= disk_bytes_max && size % sector_bytes == 0;
}

Result<Hello::Disk> read_disk(ByteReader& reader) {
    Hello::Disk disk;
    CW_TRY_ASSIGN(disk.id.bytes, reader.array<16>());
    CW_TRY_ASSIGN(disk.size_bytes, reader.u64());
    CW_TRY_ASSIGN(disk.generation, read_number<Generation>(reader));
    CW_TRY_ASSIGN(disk.next_seq, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.oldest_held, read_number<Seq>(reader));
    CW_TRY_ASSIGN(disk.catch_up_possible, read_bool(reader));
    CW_TRY_ASSIGN(disk.name, reader.text16(name_bytes_max));
    if (disk.id.is_nil()) {
        return malformed("nil disk id");
    }
    if (!size_is_valid(disk.size_bytes)) {
        return malformed("disk size " + std::to_string(disk.size_bytes));
    }
    if (raw(disk.next_seq) == 0 || raw(disk.oldest_held) == 0 || disk.oldest_held > disk.next_seq) {
        return malformed("disk sequences " + std::to_string(raw(disk.oldest_held)) + ".." +
                         std::to_string(raw(disk.next_seq)));
    }
    return disk;
}

void assert_bounds(const Hello& hello) {
    CW_ASSERT(hello.version_min >= 1 && hello.version_min <= hello.version_max);
    CW_ASSERT(hello.software.size() <= name_bytes_max);
    CW_ASSERT(hello.machine_name.size() <= name_bytes_max);
    CW_ASSERT(hello.disks.size() <= disks_max);
    CW_ASSERT(hello.disks.empty() == (raw(hello.joins) != 0));
    for (const Hello::Disk& disk : hello.disks) {
        CW_ASSERT(!disk.id.is_nil() && size_is_valid(disk.size_bytes));
        CW_ASSERT(raw(disk.oldest_held) >= 1 && disk.oldest_held <= disk.next_seq);
        CW_ASSERT(disk.name.size() <= name_bytes_max);
    }
}

}  // namespace

ByteVector encode(const Hello& hello) {
    assert_bounds(hello);
    ByteVector out;
    ByteAppender appender(out);
    appender.u16(hello.version_min);
    appender.u16(hello.version_max);
    appender.u64(hello.features);
    appender.u32(raw(hello.joins));
    appender.text16(hello.software);
    appender.text16(hello.machine_name);
    appender.u64(hello.boot_counter);
    appender.u64(hello.witness_number);
    appender.bytes(hello.witness_hash);
    appender.u16(static_cast<std::uint16_t>(hello.disks.size()));
    for (const Hello::Disk& disk : hello.disks) {
        appender.bytes(disk.id.bytes);
        appender.u64(disk.size_bytes);
        appender.u64(raw(disk.generation));
        appender.u64(raw(disk.next_seq));
        appender.u64(raw(disk.oldest_held));
        appender.u8(disk.catch_up_possible ? 1 : 0);
        appender.text16(disk.name);
    }
    return out;
}

template <>
Result<Hello> decode<Hello>(Bytes payload) {
    ByteReader reader = message_reader(payload);
    Hello hello;
    CW_TRY_ASSIGN(hello.version_min, reader.u16());
    CW_TRY_ASSIGN(hello.version_max, reader.u16());
    if (hello.version_min == 0 || hello.version_min > hello.version_max) {
        return malformed("version range");
    }
    CW_TRY_ASSIGN(hello.features, reader.u64());
    CW_TRY_ASSIGN(hello.joins, read_number<SessionId>(reader));
    CW_TRY_ASSIGN(hello.software, reader.text16(name_bytes_max));
    CW_TRY_ASSIGN(hello.machine_name, reader.text16(name_bytes_max));
    CW_TRY_ASSIGN(hello.boot_counter, reader.u64());
    CW_TRY_ASSIGN(hello.witness_number, reader.u64());
    CW_TRY_ASSIGN(hello.witness_hash, reader.array<32>());
    const bool bulk = raw(hello.joins) != 0;
    const std::uint16_t low = bulk ? 0 : 1;
    const std::uint16_t high = bulk ? 0 : static_cast<std::uint16_t>(disks_max);
    CW_TRY_ASSIGN(const std::uint16_t count, read_bounded(reader, low, high, "disk count"));
    std::set<DiskId> ids;
    hello.disks.reserve(count);
    for (std::uint16_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(Hello::Disk disk, read_disk(reader));
        if (!ids.insert(disk.id).second) {
            return malformed("disk listed twice: " + to_string(disk.id));
        }
        hello.disks.push_back(std::move(disk));
    }
    CW_TRY(expect_end(reader));
    return hello;
}

}  // namespace cw::wire
