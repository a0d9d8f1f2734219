#include "cache/cleaner.h"

#include "cache/payload_check.h"

namespace cw::cache {

void Cleaner::start(std::uint32_t region, std::uint64_t epoch) {
    CW_ASSERT(!active() && region > 0);
    region_ = region;
    unreadable_ = 0;
    scan_ = std::make_unique<RegionScan>(
        target_, RegionScan::Range{.region = region,
                                   .from = target_.superblock.region_start(region),
                                   .epoch = epoch,
                                   .deep = false});
    scan_->start();
}

bool Cleaner::busy() const noexcept {
    return reads_open_ > 0 || (scan_ != nullptr && !scan_->finished());
}

bool Cleaner::exhausted() const noexcept {
    return scan_ == nullptr && todo_.empty() && !reading_;
}

void Cleaner::stop() {
    CW_ASSERT(!busy());
    region_ = 0;
    scan_.reset();
    todo_.clear();
    reading_.reset();
    buffer_ = {};
}

std::optional<BatchItem> Cleaner::take() {
    if (scan_ != nullptr && scan_->finished()) {
        list_live();
    }
    std::optional<BatchItem> out;
    if (reading_ && reads_open_ == 0) {
        out = finish_read();
    }
    if (!reading_ && !todo_.empty()) {
        read_next();
    }
    return out;
}

void Cleaner::list_live() {
    for (const FoundBatch& batch : scan_->found()) {
        const std::vector<Place> places = batch.places();
        for (std::size_t i = 0; i < places.size(); ++i) {
            const BatchRecord& record = batch.header.records[i];
            const auto now = index_.find(record.lsn);
            if (now && now->table_offset == places[i].table_offset) {
                todo_.push_back({record.lsn, record.header, places[i]});
            }
        }
    }
    scan_.reset();
}

void Cleaner::start_read(DiskRequest& request, iovec& part, std::uint64_t offset,
                         MutableBytes into) {
    if (into.empty()) {
        return;
    }
    part = {into.data(), into.size()};
    request = {.op = DiskOp::read, .file = &target_.file, .offset = offset};
    request.parts = &part;
    request.part_count = 1;
    request.context = this;
    request.done = [](DiskRequest& r) { --static_cast<Cleaner*>(r.context)->reads_open_; };
    ++reads_open_;
    target_.disk.start(request);
}

void Cleaner::read_next() {
    reading_ = todo_.front();
    todo_.pop_front();
    const Place& place = reading_->place;
    buffer_ = AlignedBuffer(place.table_bytes + place.data_bytes);
    requests_ = {};
    start_read(requests_[0], parts_[0], place.table_offset,
               buffer_.bytes().first(place.table_bytes));
    start_read(requests_[1], parts_[1], place.data_offset,
               buffer_.bytes().subspan(place.table_bytes));
}

std::optional<BatchItem> Cleaner::finish_read() {
    const RecoveredRecord record = *reading_;
    reading_.reset();
    if (!index_.find(record.lsn)) {
        return std::nullopt;  // Released while it was read.
    }
    const bool whole = requests_[0].result == record.place.table_bytes &&
                       requests_[1].result == record.place.data_bytes;
    const Bytes table = buffer_.bytes().first(record.place.table_bytes);
    const Bytes data = buffer_.bytes().subspan(record.place.table_bytes);
    if (!whole ||
        !check_payload(record.header, table, {&data, 1}, std::max<std::size_t>(data.size(), 1))) {
        ++unreadable_;
        return std::nullopt;
    }
    BatchItem item;
    item.lsn = record.lsn;
    item.moved = true;
    item.record.header = record.header;
    item.moved_bytes = std::move(buffer_);
    return item;
}

}  // namespace cw::cache
