#include "recovery/failback_records.h"

#include "base/assert.h"
#include "pipeline/extent_table.h"
#include "pipeline/point.h"
#include "recovery/block_digests.h"

#include <algorithm>

namespace cw::recovery {
namespace {

using pipeline::Record;
using pipeline::RecordType;

constexpr std::size_t slabs_needed = pipeline::super_chunk_bytes / pipeline::slab_bytes;

void set_table(Record& record, pipeline::TableBuffer table) {
    record.header.table_bytes = static_cast<std::uint32_t>(table.bytes().size());
    record.header.table_crc = crc32c(table.bytes());
    record.table = std::move(table);
}

}  // namespace

void FailbackBlocks::add(unsigned index, std::uint64_t length, const Fingerprint& target) {
    CW_ASSERT(items_.empty() || items_.back().index < index);
    items_.push_back({index, length, target, bytes_});
    bytes_ += length;
}

void FailbackBlocks::drop_same(const FingerprintSecret& secret) {
    CW_ASSERT(content.size() == bytes_);
    std::erase_if(items_,
                  [&](const Item& item) { return fingerprint(of(item), secret) == item.target; });
}

Result<FailbackRecords> FailbackRecords::create(const MachineId& machine,
                                                const vault::PointEntry& point,
                                                const DiskAtPoint& disk) {
    CW_TRY_ASSIGN(auto pool, pipeline::SlabPool::create("failback", slabs_needed));
    // A fence and its end need a sequence each; a disk protected from its first write has them.
    const Seq cut = std::max(disk.cut, Seq{2});
    return FailbackRecords(point, {machine, disk.disk, disk.generation}, cut, std::move(pool));
}

Record FailbackRecords::control(RecordType type, Seq seq) const {
    Record record;
    record.header.key = key_;
    record.header.type = type;
    record.header.seq = seq;
    record.header.seq_count = 1;
    return record;
}

Record FailbackRecords::begin() const {
    return control(RecordType::resync_begin, fence());
}

Record FailbackRecords::end() const {
    return control(RecordType::resync_end, cut_);
}

Record FailbackRecords::base(const FailbackBlocks& blocks) {
    Record record = control(RecordType::base, fence());
    record.header.seq_count = 0;
    record.header.ordinal = blocks.ordinal;
    pipeline::ExtentTable table{entry_.source_time, {}};
    std::uint32_t position = 0;
    for (const FailbackBlocks::Item& item : blocks.items()) {
        const Bytes content = blocks.of(item);
        pipeline::Extent extent;
        extent.offset = std::uint64_t{blocks.ordinal} * pipeline::super_chunk_bytes +
                        item.index * digest_block_bytes;
        extent.length = static_cast<std::uint32_t>(item.length);
        if (all_zero(content)) {
            extent.op = pipeline::ExtentOp::zero;
        } else {
            extent.data_position = position;
            extent.crc = crc32c(content);
            pipeline::Slab& slab = record.slabs.at(position / pipeline::slab_bytes);
            if (!slab) {
                slab = pool_->try_take();
                CW_ASSERT(slab);  // The last record has returned its own.
            }
            // A whole number of blocks fits into a slab: none lies across two.
            std::copy(content.begin(), content.end(),
                      slab.bytes().begin() + position % pipeline::slab_bytes);
            position += static_cast<std::uint32_t>(align_up(content.size(), block_bytes));
        }
        table.extents.push_back(extent);
    }
    record.header.data_bytes = position;
    pipeline::TableBuffer bytes(pipeline::extent_table_bytes(table.extents.size()));
    pipeline::write_extent_table(table, bytes.bytes());
    set_table(record, std::move(bytes));
    return record;
}

Record FailbackRecords::point() const {
    pipeline::Point point;
    point.id = entry_.id;
    point.kind = static_cast<pipeline::PointKind>(entry_.kind);
    point.source_time = entry_.source_time;
    point.uncertainty_us = entry_.uncertainty_us;
    point.cuts.push_back({key_.disk, key_.generation, cut_, {}});
    const ByteVector payload = encode_point(point);
    Record record = control(RecordType::point, Seq{});
    record.header.seq_count = 0;
    pipeline::TableBuffer bytes(align_up(payload.size(), block_bytes));
    std::copy(payload.begin(), payload.end(), bytes.bytes().begin());
    set_table(record, std::move(bytes));
    return record;
}

}  // namespace cw::recovery
