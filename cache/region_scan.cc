#include "cache/region_scan.h"

#include "cache/payload_check.h"

#include <algorithm>
#include <cstring>

namespace cw::cache {
namespace {

constexpr std::uint64_t chain_window_bytes = 64 * kib, deep_window_bytes = mib;
constexpr std::size_t scans_at_once = 16;
constexpr std::int64_t pump_ns = ns_per_s / 10;

}  // namespace

std::vector<Place> FoundBatch::places() const {
    std::vector<Place> out;
    out.reserve(header.records.size());
    std::uint64_t table = header.offset + header.header_bytes();
    std::uint64_t data = table + header.tables_bytes();
    for (const BatchRecord& record : header.records) {
        const RecordHeader& h = record.header;
        out.push_back({.region = region,
                       .table_bytes = h.table_bytes,
                       .data_bytes = h.data_bytes,
                       .table_crc = h.table_crc,
                       .table_offset = table,
                       .data_offset = data});
        table += h.table_bytes;
        data += h.data_bytes;
    }
    return out;
}

RegionScan::RegionScan(Target target, Range range)
    : target_(target),
      range_(range),
      at_(range.from),
      end_(target.superblock.region_start(range.region) + target.superblock.region_bytes) {
    CW_ASSERT(at_ <= end_ && at_ % block_bytes == 0);
}

void RegionScan::start() {
    read_from(at_, 0);
}

void RegionScan::read_from(std::uint64_t offset, std::uint64_t wanted) {
    const std::uint64_t window = range_.deep ? deep_window_bytes : chain_window_bytes;
    const std::uint64_t length = std::min(std::max(window, wanted), end_ - offset);
    if (length == 0) {
        finish();
        return;
    }
    if (buffer_.size() < length) {
        buffer_ = AlignedBuffer(length, AlignedBuffer::Unfilled{});
    }
    buffer_offset_ = offset;
    window_blocks_ = length / block_bytes;
    block_by_block_ = false;
    submit(offset, buffer_.bytes().first(length));
}

void RegionScan::submit(std::uint64_t offset, MutableBytes into) {
    part_ = {into.data(), into.size()};
    request_ = {.op = DiskOp::read, .file = &target_.file, .offset = offset};
    request_.parts = &part_;
    request_.part_count = 1;
    request_.context = this;
    request_.done = [](DiskRequest& r) { static_cast<RegionScan*>(r.context)->on_read(); };
    target_.disk.start(request_);
}

void RegionScan::finish() {
    finished_ = true;
    buffer_ = {};
}

void RegionScan::on_read() {
    const bool whole = request_.result == static_cast<std::int64_t>(part_.iov_len);
    if (block_by_block_) {
        on_block();
    } else if (whole) {
        take_batches();
    } else {
        block_by_block_ = true;
        block_ = 0;
        tries_ = 0;
        read_block();
    }
}

void RegionScan::read_block() {
    const std::uint64_t at = block_ * block_bytes;
    submit(buffer_offset_ + at, buffer_.bytes().subspan(at, block_bytes));
}

void RegionScan::on_block() {
    const bool whole = request_.result == static_cast<std::int64_t>(block_bytes);
    // With much of the region gone, each block has one chance only.
    const unsigned allowed = unreadable_bytes(unreadable_) < patience_bytes ? read_tries : 1;
    if (!whole && ++tries_ < allowed) {
        read_block();
        return;
    }
    if (!whole) {
        std::memset(part_.iov_base, 0, part_.iov_len);
        note_unreadable(unreadable_, request_.offset);
    }
    tries_ = 0;
    if (++block_ < window_blocks_) {
        read_block();
    } else {
        take_batches();
    }
}

void RegionScan::take_batches() {
    const std::uint64_t read_to = buffer_offset_ + window_blocks_ * block_bytes;
    while (at_ + block_bytes <= read_to) {
        const Bytes here = buffer_.bytes().subspan(at_ - buffer_offset_, read_to - at_);
        switch (take_batch(here)) {
            case Step::found:
                at_ = found_.back().end();
                break;
            case Step::need_more:
                read_from(at_, needed_);
                return;
            case Step::nothing:
                if (!range_.deep) {
                    finish();
                    return;
                }
                at_ += block_bytes;
                break;
        }
    }
    read_from(std::min(at_, end_), 0);
}

bool RegionScan::fits(const BatchHeader& header) const {
    const bool epoch_fits = range_.epoch == 0 || header.epoch == range_.epoch;
    return header.spool == target_.superblock.id && header.offset == at_ && epoch_fits &&
           header.total_bytes() <= end_ - at_ &&
           (range_.epoch == 0 || header.number > last_number_);
}

RegionScan::Step RegionScan::take_batch(Bytes here) {
    const auto header_bytes = peek_batch_header_bytes(here);
    if (!header_bytes || *header_bytes > end_ - at_) {
        return Step::nothing;
    }
    needed_ = *header_bytes;
    if (here.size() < needed_) {
        return Step::need_more;
    }
    auto header = decode_batch_header(here);
    if (!header || !fits(*header)) {
        return Step::nothing;
    }
    needed_ += header->tables_bytes();
    if (here.size() < needed_) {
        return Step::need_more;
    }
    FoundBatch batch{std::move(*header), {}, range_.region};
    Bytes tables = here.subspan(batch.header.header_bytes());
    for (const BatchRecord& record : batch.header.records) {
        const Bytes table = tables.first(record.header.table_bytes);
        batch.intact.push_back(check_table(record.header, table).has_value());
        tables = tables.subspan(table.size());
    }
    last_number_ = batch.header.number;
    if (!range_.deep) {
        range_.epoch = batch.header.epoch;
    }
    found_.push_back(std::move(batch));
    return Step::found;
}

void run_scans(Disk& disk, std::span<const std::unique_ptr<RegionScan>> scans) {
    std::vector<RegionScan*> running;
    std::size_t next = 0;
    while (true) {
        std::erase_if(running, [](const RegionScan* scan) { return scan->finished(); });
        while (running.size() < scans_at_once && next < scans.size()) {
            running.push_back(scans[next++].get());
            running.back()->start();
        }
        if (running.empty()) {
            return;
        }
        if (disk.poll() == 0) {
            disk.wait(pump_ns);
        }
    }
}

}  // namespace cw::cache
