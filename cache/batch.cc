#include "cache/batch.h"

#include <algorithm>

namespace cw::cache {

unsigned BatchItem::parts() const noexcept {
    return moved ? 2 : 1 + static_cast<unsigned>(record.slab_count());
}

Batch::Batch(BatchHeader layout, std::uint32_t region, std::vector<BatchItem> items)
    : layout_{std::move(layout), {}, region}, items_(std::move(items)) {
    CW_ASSERT(layout_.header.records.empty() && !items_.empty());
    for (const BatchItem& item : items_) {
        layout_.header.records.push_back({item.lsn, item.moved, item.record.header});
        if (item.moved && (lowest_moved_ == 0 || raw(item.lsn) < lowest_moved_)) {
            lowest_moved_ = raw(item.lsn);
        }
    }
    header_ = AlignedBuffer(layout_.header.header_bytes());
    encode_batch_header(layout_.header, header_.bytes());
    bytes_ = layout_.header.total_bytes();
    gather();
}

void Batch::add_part(std::byte* data, std::size_t bytes) {
    if (bytes > 0) {
        CW_ASSERT(data != nullptr);
        parts_.push_back({data, bytes});
    }
}

void Batch::gather() {
    add_part(header_.data(), header_.size());
    for (BatchItem& item : items_) {
        const std::size_t table = item.record.header.table_bytes;
        if (item.moved) {
            add_part(item.moved_bytes.data(), table);
        } else {
            CW_ASSERT(item.record.table.bytes().size() == table);
            add_part(item.record.table.bytes().data(), table);
        }
    }
    for (BatchItem& item : items_) {
        std::size_t left = item.record.header.data_bytes;
        if (item.moved) {
            add_part(item.moved_bytes.data() + item.record.header.table_bytes, left);
            continue;
        }
        for (std::size_t i = 0; left > 0; ++i) {
            const std::size_t part = std::min(left, pipeline::slab_bytes);
            add_part(item.record.slabs[i].data(), part);
            left -= part;
        }
    }
    CW_ASSERT(parts_.size() <= parts_max);
}

void Batch::start(Disk& disk, File& file, Nanos now) {
    started_ = now;
    request_ = {.op = DiskOp::write, .durable = true, .file = &file};
    request_.offset = layout_.header.offset;
    request_.parts = parts_.data();
    request_.part_count = static_cast<unsigned>(parts_.size());
    request_.context = this;
    request_.done = [](DiskRequest& r) { static_cast<Batch*>(r.context)->done_ = true; };
    disk.start(request_);
}

Result<void> Batch::result() const {
    CW_ASSERT(done_);
    if (request_.result < 0) {
        return fail_errno(Errc::io_error, "append to the cache",
                          static_cast<int>(-request_.result));
    }
    if (static_cast<std::uint64_t>(request_.result) != bytes_) {
        return fail(Errc::io_error, "append to the cache was cut short");
    }
    return {};
}

}  // namespace cw::cache
