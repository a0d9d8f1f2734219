#include "cache/spool_format.h"

#include "base/checksum.h"

#include <algorithm>
#include <limits>

namespace cw::cache {
namespace {

constexpr std::uint32_t superblock_magic = 0x31535743;  // "CWS1"
constexpr std::uint32_t batch_magic = 0x31425743;       // "CWB1"
constexpr std::size_t crc_at = 8;  // In every structure: u32 after magic, version.

// The CRC of `bytes` with its own field as zero.
std::uint32_t guarded_crc(Bytes bytes) {
    constexpr std::array<std::byte, 4> zero{};
    const std::uint32_t head = crc32c(zero, crc32c(bytes.first(crc_at)));
    return crc32c(bytes.subspan(crc_at + zero.size()), head);
}

void put_crc(MutableBytes bytes) {
    ByteWriter(bytes.subspan(crc_at, 4)).u32(guarded_crc(bytes));
}

template <typename Id>
Result<Id> read_id(ByteReader& in) {
    CW_TRY_ASSIGN(const auto bytes, in.array<16>());
    return Id{bytes};
}

void write_record(ByteWriter& out, const BatchRecord& record) {
    const RecordHeader& h = record.header;
    CW_ASSERT(record_header_valid(h) && raw(record.lsn) > 0);
    out.u64(raw(record.lsn));
    out.bytes(h.key.machine.bytes);
    out.bytes(h.key.disk.bytes);
    out.u64(raw(h.key.generation));
    out.u8(static_cast<std::uint8_t>(h.type));
    out.u8(record.moved ? 1 : 0);
    out.u16(0);
    out.u32(raw(h.session));
    out.u64(raw(h.seq));
    out.u32(h.seq_count);
    out.u32(h.ordinal);
    out.u64(h.aux);
    out.u32(h.table_bytes);
    out.u32(h.data_bytes);
    out.u32(h.table_crc);
    out.u32(0);
}

Result<BatchRecord> read_record(ByteReader& in) {
    BatchRecord record;
    RecordHeader& h = record.header;
    CW_TRY_ASSIGN(const std::uint64_t lsn, in.u64());
    record.lsn = Lsn{lsn};
    CW_TRY_ASSIGN(h.key.machine, read_id<MachineId>(in));
    CW_TRY_ASSIGN(h.key.disk, read_id<DiskId>(in));
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    h.key.generation = Generation{generation};
    CW_TRY_ASSIGN(const std::uint8_t type, in.u8());
    h.type = static_cast<RecordType>(type);
    CW_TRY_ASSIGN(const std::uint8_t flags, in.u8());
    record.moved = flags == 1;
    CW_TRY_ASSIGN(const std::uint16_t zero, in.u16());
    CW_TRY_ASSIGN(const std::uint32_t session, in.u32());
    h.session = SessionId{session};
    CW_TRY_ASSIGN(const std::uint64_t seq, in.u64());
    h.seq = Seq{seq};
    CW_TRY_ASSIGN(h.seq_count, in.u32());
    CW_TRY_ASSIGN(h.ordinal, in.u32());
    CW_TRY_ASSIGN(h.aux, in.u64());
    CW_TRY_ASSIGN(h.table_bytes, in.u32());
    CW_TRY_ASSIGN(h.data_bytes, in.u32());
    CW_TRY_ASSIGN(h.table_crc, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t tail, in.u32());
    if (lsn == 0 || lsn > counter_max || flags > 1 || zero != 0 || tail != 0 ||
        !record_header_valid(h)) {
        return fail(Errc::record_corrupt, "record entry of LSN " + std::to_string(lsn));
    }
    return record;
}

}  // namespace

void encode_superblock(const Superblock& block, MutableBytes out) {
    CW_ASSERT(out.size() == block_bytes);
    ByteWriter w(out);
    w.u32(superblock_magic);
    w.u16(spool_format_version);
    w.u16(0);
    w.u32(0);  // The CRC, below.
    w.u32(0);
    w.bytes(block.id.bytes);
    w.u64(block.size_bytes);
    w.u64(block.region_bytes);
    w.zeros(w.remaining());
    put_crc(out);
}

Result<Superblock> decode_superblock(Bytes block) {
    ByteReader in(block, Errc::spool_tampered);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY(in.u16());
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    if (block.size() != block_bytes || magic != superblock_magic || crc != guarded_crc(block)) {
        return fail(Errc::spool_tampered, "superblock damaged");
    }
    if (version != spool_format_version) {
        return fail(Errc::format_unsupported, "spool version " + std::to_string(version));
    }
    CW_TRY(in.u32());
    Superblock out;
    CW_TRY_ASSIGN(out.id, read_id<SpoolId>(in));
    CW_TRY_ASSIGN(out.size_bytes, in.u64());
    CW_TRY_ASSIGN(out.region_bytes, in.u64());
    const bool fits =
        out.region_bytes >= 4 * block_bytes && out.region_bytes % block_bytes == 0 &&
        out.size_bytes % out.region_bytes == 0 &&
        out.size_bytes / out.region_bytes <= std::numeric_limits<std::uint32_t>::max();
    if (!fits || out.id.is_nil()) {
        return fail(Errc::spool_tampered, "superblock fields");
    }
    return out;
}

std::uint32_t BatchHeader::header_bytes() const noexcept {
    return batch_header_bytes(records.size());
}

std::uint64_t BatchHeader::tables_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const BatchRecord& record : records) {
        sum += record.header.table_bytes;
    }
    return sum;
}

std::uint64_t BatchHeader::total_bytes() const noexcept {
    std::uint64_t sum = header_bytes();
    for (const BatchRecord& record : records) {
        sum += payload_bytes(record.header);
    }
    return sum;
}

bool record_header_valid(const RecordHeader& header) noexcept {
    const auto type = static_cast<std::uint8_t>(header.type);
    return type >= static_cast<std::uint8_t>(RecordType::write) &&
           type <= static_cast<std::uint8_t>(RecordType::point_result) &&
           header.table_bytes % block_bytes == 0 &&
           header.table_bytes <= pipeline::table_bytes_max &&
           header.data_bytes % block_bytes == 0 &&
           header.data_bytes <= pipeline::record_data_bytes_max &&
           (header.data_bytes == 0 || header.table_bytes > 0) && sequence_fits_type(header);
}

void encode_batch_header(const BatchHeader& header, MutableBytes out) {
    CW_ASSERT(!header.records.empty() && header.records.size() <= batch_records_max);
    CW_ASSERT(out.size() == header.header_bytes());
    CW_ASSERT(header.number > header.durable_through && header.epoch > 0);
    ByteWriter w(out);
    w.u32(batch_magic);
    w.u16(spool_format_version);
    w.u16(static_cast<std::uint16_t>(header.records.size()));
    w.u32(0);  // The CRC, below.
    w.u32(header.header_bytes());
    w.bytes(header.spool.bytes);
    w.u64(header.offset);
    w.u64(header.epoch);
    w.u64(header.number);
    w.u64(header.durable_through);
    w.u64(header.moved_before);
    w.u64(header.total_bytes());
    w.zeros(batch_head_bytes - w.position());
    for (const BatchRecord& record : header.records) {
        write_record(w, record);
    }
    w.zeros(w.remaining());
    put_crc(out);
}

Result<std::uint32_t> peek_batch_header_bytes(Bytes first_block) {
    ByteReader in(first_block, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    if (magic != batch_magic) {
        // A deep scan hears this of nearly every block: so short a text needs no memory of its own.
        return fail(Errc::record_corrupt, "no batch header");
    }
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    CW_TRY(in.u32());
    CW_TRY_ASSIGN(const std::uint32_t bytes, in.u32());
    if (version != spool_format_version) {
        return fail(Errc::format_unsupported, "batch version " + std::to_string(version));
    }
    if (count == 0 || count > batch_records_max || bytes != batch_header_bytes(count)) {
        return fail(Errc::record_corrupt, "batch header lengths");
    }
    return bytes;
}

Result<BatchHeaderStart> peek_batch_header(Bytes first_block) {
    BatchHeaderStart out;
    CW_TRY_ASSIGN(out.header_bytes, peek_batch_header_bytes(first_block));
    ByteReader in(first_block, Errc::record_corrupt);
    CW_TRY(in.take(16));
    CW_TRY_ASSIGN(out.spool, read_id<SpoolId>(in));
    CW_TRY_ASSIGN(out.offset, in.u64());
    CW_TRY_ASSIGN(out.epoch, in.u64());
    CW_TRY_ASSIGN(out.number, in.u64());
    return out;
}

Result<BatchHeader> decode_batch_header(Bytes header_blocks) {
    CW_TRY_ASSIGN(const std::uint32_t bytes, peek_batch_header_bytes(header_blocks));
    if (header_blocks.size() < bytes) {
        return fail(Errc::record_corrupt, "batch header cut short");
    }
    const Bytes whole = header_blocks.first(bytes);
    ByteReader in(whole, Errc::record_corrupt);
    CW_TRY(in.take(6));
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    if (crc != guarded_crc(whole)) {
        return fail(Errc::record_corrupt, "batch header checksum");
    }
    CW_TRY(in.u32());
    BatchHeader out;
    CW_TRY_ASSIGN(out.spool, read_id<SpoolId>(in));
    CW_TRY_ASSIGN(out.offset, in.u64());
    CW_TRY_ASSIGN(out.epoch, in.u64());
    CW_TRY_ASSIGN(out.number, in.u64());
    CW_TRY_ASSIGN(out.durable_through, in.u64());
    CW_TRY_ASSIGN(out.moved_before, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t total, in.u64());
    CW_TRY(in.take(batch_head_bytes - in.position()));
    out.records.reserve(count);
    for (std::uint16_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(BatchRecord record, read_record(in));
        out.records.push_back(record);
    }
    const bool counts = out.epoch > 0 && out.epoch <= counter_max && out.number <= counter_max &&
                        out.number > out.durable_through;
    if (!counts || total != out.total_bytes()) {
        return fail(Errc::record_corrupt, "batch header fields");
    }
    return out;
}

}  // namespace cw::cache
