#include "egress/volume/undo_log.h"

#include "base/checksum.h"

#include <algorithm>

namespace cw::volume {
namespace {

constexpr std::uint32_t head_magic = 0x31555743, batch_magic = 0x42555743;
constexpr std::size_t table_bytes = block_bytes;
constexpr std::size_t batch_fixed_bytes = 32, run_entry_bytes = 12;
constexpr std::size_t runs_max = (table_bytes - batch_fixed_bytes) / run_entry_bytes;

Result<void> check_crc(Bytes table, const std::string& what) {
    ByteReader in(table, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    return table.size() == table_bytes && crc == crc32c(table.subspan(4))
               ? Result<void>{}
               : fail(Errc::record_corrupt, what);
}

}  // namespace

Result<std::unique_ptr<UndoLog>> UndoLog::create(Disk& disk, const std::string& path,
                                                 std::uint64_t number, const HeldPoint& point) {
    CW_TRY_ASSIGN(auto file, disk.open(path, {.write = true, .create = true}));
    CW_TRY(disk.resize(*file, 0, false));  // Of a merge that was interrupted.
    std::unique_ptr<UndoLog> log(new UndoLog(disk, std::move(file), number));
    log->point_ = point;
    log->end_ = table_bytes;
    return log;
}

Result<std::unique_ptr<UndoLog>> UndoLog::open(Disk& disk, const std::string& path,
                                               std::uint64_t number) {
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    if (!there) {
        return nullptr;
    }
    CW_TRY_ASSIGN(auto file, disk.open(path, {}));
    std::unique_ptr<UndoLog> log(new UndoLog(disk, std::move(file), number));
    ByteVector bytes(table_bytes);
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk, *log->file_, 0, bytes));
    if (got != bytes.size() || !check_crc(bytes, path)) {
        return nullptr;
    }
    ByteReader in(Bytes(bytes).subspan(4), Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t of, in.u64());
    CW_TRY_ASSIGN(log->point_, read_held_point(in));
    CW_TRY_ASSIGN(log->end_, in.u64());
    if (!read_point_words(in, log->point_) || !read_point_group(in, log->point_)) {
        return nullptr;
    }
    if (magic != head_magic || of != number) {
        return nullptr;
    }
    log->at_ = table_bytes;
    return log;
}

ByteVector UndoLog::head() const {
    ByteVector body;
    ByteAppender out(body);
    out.u32(head_magic);
    out.u64(number_);
    append_held_point(out, point_);
    out.u64(end_);
    append_point_words(out, point_);
    append_point_group(out, point_);
    body.resize(table_bytes - 4);
    ByteVector bytes;
    ByteAppender(bytes).u32(crc32c(body));
    ByteAppender(bytes).bytes(body);
    return bytes;
}

Result<void> UndoLog::add(std::uint64_t offset, Bytes content) {
    CW_ASSERT(!content.empty() && content.size() <= run_bytes_max);
    if (batch_.runs.size() == runs_max || batch_.content.size() + content.size() > run_bytes_max) {
        CW_TRY(write_batch());
    }
    batch_.runs.push_back({offset, static_cast<std::uint32_t>(content.size())});
    batch_.content.insert(batch_.content.end(), content.begin(), content.end());
    return {};
}

Result<void> UndoLog::write_batch() {
    ByteVector body;
    ByteAppender out(body);
    out.u32(batch_magic);
    out.u64(number_);
    out.u64(end_);
    out.u32(static_cast<std::uint32_t>(batch_.runs.size()));
    out.u32(crc32c(batch_.content));
    for (const Run& run : batch_.runs) {
        out.u64(run.offset);
        out.u32(run.length);
    }
    CW_ASSERT(body.size() <= table_bytes - 4);
    body.resize(table_bytes - 4);
    ByteVector table;
    ByteAppender(table).u32(crc32c(body));
    ByteAppender(table).bytes(body);
    CW_TRY(write_at(disk_, *file_, end_, table, false));
    CW_TRY(write_at(disk_, *file_, end_ + table_bytes, batch_.content, false));
    end_ += table_bytes + batch_.content.size();
    batch_ = {};
    return {};
}

Result<void> UndoLog::finish() {
    if (!batch_.runs.empty()) {
        CW_TRY(write_batch());
    }
    CW_TRY(sync_file(disk_, *file_));  // Before the head says that it is there.
    CW_TRY(write_at(disk_, *file_, 0, head(), false));
    return sync_file(disk_, *file_);
}

Result<bool> UndoLog::next(Batch& out) {
    if (at_ >= end_) {
        return false;
    }
    CW_TRY(read_batch(at_, out));
    at_ += table_bytes + out.content.size();
    return true;
}

Result<bool> UndoLog::next_table(Table& out) {
    if (at_ >= end_) {
        return false;
    }
    CW_TRY_ASSIGN(Head head, read_head(at_));
    out = {at_, std::move(head.runs)};
    at_ += table_bytes + head.bytes;
    return true;
}

Result<UndoLog::Head> UndoLog::read_head(std::uint64_t at) {
    const std::string place = "undo log " + std::to_string(number_) + " at " + std::to_string(at);
    ByteVector table(table_bytes);
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *file_, at, table));
    CW_TRY(check_crc(Bytes(table).first(got), place));
    ByteReader in(Bytes(table).subspan(4), Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t number, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t own, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t runs, in.u32());
    Head head;
    CW_TRY_ASSIGN(head.crc, in.u32());
    if (magic != batch_magic || number != number_ || own != at || runs > runs_max) {
        return fail(Errc::record_corrupt, place);
    }
    for (std::uint32_t i = 0; i < runs; ++i) {
        Run run;
        CW_TRY_ASSIGN(run.offset, in.u64());
        CW_TRY_ASSIGN(run.length, in.u32());
        head.bytes += run.length;
        if (head.bytes > run_bytes_max) {
            return fail(Errc::record_corrupt, place);
        }
        head.runs.push_back(run);
    }
    return head;
}

Result<void> UndoLog::read_batch(std::uint64_t at, Batch& out) {
    CW_TRY_ASSIGN(Head head, read_head(at));
    out.runs = std::move(head.runs);
    out.content.resize(head.bytes);
    CW_TRY_ASSIGN(const std::size_t read, read_at(disk_, *file_, at + table_bytes, out.content));
    if (read != head.bytes || head.crc != crc32c(out.content)) {
        return fail(Errc::record_corrupt,
                    "undo log " + std::to_string(number_) + " at " + std::to_string(at));
    }
    return {};
}

}  // namespace cw::volume
