#include "egress/volume/redo_log.h"

#include "base/checksum.h"
#include "base/crash_point.h"

#include <algorithm>

namespace cw::volume {
namespace {

using pipeline::Record;
using pipeline::RecordHeader;

constexpr std::uint32_t entry_magic = 0x31525743;
constexpr std::size_t entry_head_bytes = block_bytes;

std::uint64_t entry_bytes(const RecordHeader& header) {
    return entry_head_bytes + header.table_bytes + header.data_bytes;
}

}  // namespace

Result<std::unique_ptr<RedoLog>> RedoLog::open(Disk& disk, const std::string& path,
                                               std::uint64_t number) {
    CW_TRY_ASSIGN(auto file, disk.open(path, {.write = true, .create = true}));
    return std::unique_ptr<RedoLog>(new RedoLog(disk, std::move(file), number));
}

Result<std::vector<RedoEntry>> RedoLog::recover() {
    std::vector<RedoEntry> entries;
    end_ = 0;
    last_head_crc_ = 0;
    for (;;) {
        CW_TRY_ASSIGN(const auto entry, read_entry(end_));
        if (!entry) {
            return entries;
        }
        entries.push_back(*entry);
        end_ += entry_bytes(entry->header);
    }
}

Result<RedoEntry> RedoLog::append(const Record& record) {
    const RecordHeader& header = record.header;
    CW_ASSERT(record.has_data() && record.table.bytes().size() == header.table_bytes);
    std::uint32_t crc = crc32c(record.table.bytes());
    std::uint64_t at = end_ + entry_head_bytes;
    if (header.table_bytes > 0) {
        CW_TRY(write_at(disk_, *file_, at, record.table.bytes(), false));
    }
    at += header.table_bytes;
    for (std::uint32_t done = 0; done < header.data_bytes; done += pipeline::slab_bytes) {
        const auto step = std::min<std::uint32_t>(pipeline::slab_bytes, header.data_bytes - done);
        const Bytes piece = record.data_in_slab(done, step);
        crc = crc32c(piece, crc);
        CW_TRY(write_at(disk_, *file_, at + done, piece, false));
    }
    std::array<std::byte, entry_head_bytes> head{};
    ByteWriter out(MutableBytes(head).subspan(4));
    out.u32(entry_magic);
    out.u64(number_);
    out.u64(end_);
    out.u32(last_head_crc_);
    out.u8(static_cast<std::uint8_t>(header.type));
    out.u64(raw(header.key.generation));
    out.u64(raw(header.seq));
    out.u32(header.seq_count);
    out.u32(header.ordinal);
    out.u64(header.aux);
    out.u32(header.table_bytes);
    out.u32(header.data_bytes);
    out.u32(crc);
    CW_CRASH_POINT("volume.redo_written");
    const std::uint32_t head_crc = crc32c(Bytes(head).subspan(4));
    ByteWriter(head).u32(head_crc);
    CW_TRY(write_at(disk_, *file_, end_, head, false));
    last_head_crc_ = head_crc;
    RedoEntry entry{.header = header, .offset = end_};
    end_ += entry_bytes(header);
    return entry;
}

Result<ByteVector> RedoLog::table(const RedoEntry& entry) {
    ByteVector out(entry.header.table_bytes);
    CW_TRY_ASSIGN(const std::size_t got,
                  read_at(disk_, *file_, entry.offset + entry_head_bytes, out));
    if (got != out.size()) {
        return fail(Errc::record_corrupt, "redo log ends inside an entry");
    }
    return out;
}

Result<ByteVector> RedoLog::data(const RedoEntry& entry, std::uint32_t position,
                                 std::uint32_t length) {
    CW_ASSERT(position <= entry.header.data_bytes && length <= entry.header.data_bytes - position);
    ByteVector out(length);
    const std::uint64_t at = entry.offset + entry_head_bytes + entry.header.table_bytes + position;
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *file_, at, out));
    if (got != out.size()) {
        return fail(Errc::record_corrupt, "redo log ends inside an entry");
    }
    return out;
}

// nullopt: the log ends here.
Result<std::optional<RedoEntry>> RedoLog::read_entry(std::uint64_t offset) {
    std::array<std::byte, entry_head_bytes> head{};
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *file_, offset, head));
    ByteReader in(Bytes(head).first(got), Errc::record_corrupt);
    if (got != head.size()) {
        return std::nullopt;
    }
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t number, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t own, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t before, in.u32());
    if (crc != crc32c(Bytes(head).subspan(4)) || magic != entry_magic || number != number_ ||
        own != offset || before != last_head_crc_) {
        return std::nullopt;
    }
    RedoEntry entry;
    entry.offset = offset;
    RecordHeader& header = entry.header;
    CW_TRY_ASSIGN(const std::uint8_t type, in.u8());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t seq, in.u64());
    CW_TRY_ASSIGN(header.seq_count, in.u32());
    CW_TRY_ASSIGN(header.ordinal, in.u32());
    CW_TRY_ASSIGN(header.aux, in.u64());
    CW_TRY_ASSIGN(header.table_bytes, in.u32());
    CW_TRY_ASSIGN(header.data_bytes, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t expected, in.u32());
    header.type = static_cast<pipeline::RecordType>(type);
    header.key.generation = Generation{generation};
    header.seq = Seq{seq};
    if (header.table_bytes > pipeline::table_bytes_max ||
        header.data_bytes > pipeline::record_data_bytes_max) {
        return std::nullopt;
    }
    const auto crc_found = payload_crc(entry);
    if (!crc_found && crc_found.error().code != Errc::record_corrupt) {
        return std::unexpected(crc_found.error());
    }
    if (!crc_found || *crc_found != expected) {
        return std::nullopt;
    }
    last_head_crc_ = crc;
    return entry;
}

Result<std::uint32_t> RedoLog::payload_crc(const RedoEntry& entry) {
    CW_TRY_ASSIGN(const ByteVector head, table(entry));
    std::uint32_t crc = crc32c(head);
    for (std::uint32_t at = 0; at < entry.header.data_bytes; at += pipeline::slab_bytes) {
        const auto step =
            std::min<std::uint32_t>(pipeline::slab_bytes, entry.header.data_bytes - at);
        CW_TRY_ASSIGN(const ByteVector piece, data(entry, at, step));
        crc = crc32c(piece, crc);
    }
    return crc;
}

}  // namespace cw::volume
