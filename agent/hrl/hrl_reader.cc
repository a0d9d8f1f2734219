#include "agent/hrl/hrl_reader.h"

#include "base/log.h"

#include <algorithm>

namespace cw::agent {

Result<HrlReader> HrlReader::open(Disk& disk, const std::string& path, bool strict) {
    CW_TRY_ASSIGN(auto file, disk.open(path, {}));
    HrlReader reader(disk, std::move(file));
    if (reader.file_->size() < 2 * hrl_block_bytes) {
        return fail(Errc::hrl_broken, path + " is too short");
    }
    CW_TRY_ASSIGN(const ByteVector head, reader.read(0, hrl_block_bytes));
    CW_TRY_ASSIGN(const DecodedHrlHeader decoded, decode_hrl_header(head));
    reader.header_ = decoded.header;
    if (!decoded.checksum_matches) {
        if (strict) {
            return fail(Errc::hrl_broken, path + ": the header's checksum does not match");
        }
        log_warning("agent.hrl.header", {{"file", path}, {"checksum", "does not match"}});
    }
    if (reader.header_.end == 0) {
        return fail(Errc::in_use, path + " was not closed yet");
    }
    if (auto walked = reader.walk(); !walked) {
        walked.error().detail = path + ": " + walked.error().detail;
        return std::unexpected(walked.error());
    }
    return reader;
}

Result<ByteVector> HrlReader::read(std::uint64_t at, std::size_t length) {
    ByteVector bytes(length);
    CW_TRY_ASSIGN(const std::size_t got, read_at(*disk_, *file_, at, bytes));
    if (got != length) {
        return fail(Errc::hrl_broken, "it ends too early");
    }
    return bytes;
}

// From the last metadata block back to the first: each must lie exactly behind its data.
Result<void> HrlReader::walk() {
    if (header_.error != 0 || header_.end > file_->size() || header_.end < 2 * hrl_block_bytes) {
        return fail(Errc::hrl_broken, "its writer noted an error, or its end is elsewhere");
    }
    std::uint64_t at = header_.end - hrl_block_bytes, entries = 0;
    for (;;) {
        CW_TRY_ASSIGN(const ByteVector bytes, read(at, hrl_block_bytes));
        CW_TRY_ASSIGN(const HrlBlock block, decode_hrl_block(bytes));
        blocks_.push_back(at);
        entries += block.entries.size();
        std::uint64_t data = 0;
        for (const HrlEntry& entry : block.entries) {
            data += entry.length;
        }
        if (block.back == 0) {
            if (at != hrl_block_bytes || !block.entries.empty()) {
                return fail(Errc::hrl_broken, "its first metadata block is not behind its header");
            }
            break;
        }
        if (block.back != data + hrl_block_bytes || block.back > at - hrl_block_bytes) {
            return fail(Errc::hrl_broken, "a metadata block is not behind its data");
        }
        at -= block.back;
    }
    if (entries != header_.entry_count) {
        return fail(Errc::hrl_broken, "it has " + std::to_string(entries) + " entries and not " +
                                          std::to_string(header_.entry_count));
    }
    std::ranges::reverse(blocks_);
    rewind();
    return {};
}

void HrlReader::rewind() noexcept {
    block_ = entry_ = 0;
    current_ = {};
    writing_ = {};
    data_at_ = 0;
    left_ = sum_ = 0;
}

Result<bool> HrlReader::next_entry(std::uint64_t disk_bytes) {
    while (entry_ == current_.entries.size()) {
        if (++block_ >= blocks_.size()) {
            return false;
        }
        CW_TRY_ASSIGN(const ByteVector bytes, read(blocks_[block_], hrl_block_bytes));
        CW_TRY_ASSIGN(current_, decode_hrl_block(bytes));  // It may have changed meanwhile.
        entry_ = 0;
        data_at_ = blocks_[block_ - 1] + hrl_block_bytes;
    }
    writing_ = current_.entries[entry_++];
    left_ = writing_.length;
    sum_ = 0;
    const bool fits = writing_.offset <= disk_bytes &&
                      writing_.length <= disk_bytes - writing_.offset &&
                      data_at_ + writing_.length <= blocks_[block_];
    if (!fits || writing_.offset % sector_bytes != 0 || writing_.length % sector_bytes != 0) {
        return fail(Errc::hrl_broken, "a write of " + std::to_string(writing_.length) + " at " +
                                          std::to_string(writing_.offset) +
                                          " is not within the disk");
    }
    return true;
}

Result<std::optional<HrlReader::Piece>> HrlReader::next(std::uint64_t disk_bytes) {
    while (left_ == 0) {
        CW_TRY_ASSIGN(const bool more, next_entry(disk_bytes));
        if (!more) {
            return std::nullopt;
        }
    }
    const std::size_t step = std::min<std::size_t>(left_, piece_bytes_max);
    CW_TRY_ASSIGN(buffer_, read(data_at_, step));
    const Piece piece{writing_.offset + (writing_.length - left_), buffer_};
    data_at_ += step;
    left_ -= static_cast<std::uint32_t>(step);
    sum_ = hrl_sum(buffer_, sum_);
    if (left_ == 0 && writing_.data_checksum != 0 &&
        writing_.data_checksum != hrl_checksum_of_sum(sum_)) {
        return fail(Errc::hrl_broken, "the data of a write at " + std::to_string(writing_.offset) +
                                          " does not match its checksum");
    }
    return piece;
}

}  // namespace cw::agent
