#include "tests/sim/feed.h"

#include "base/checksum.h"
#include "pipeline/extent_table.h"
#include "pipeline/point.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cw::sim {
namespace {

using pipeline::RecordType;

ByteVector data_of(const pipeline::Record& record, std::uint32_t offset, std::uint32_t length) {
    ByteVector out(length);
    for (std::uint32_t at = 0; at < length;) {
        const auto within = static_cast<std::uint32_t>((offset + at) % pipeline::slab_bytes);
        const auto n = std::min<std::uint32_t>(
            length - at, static_cast<std::uint32_t>(pipeline::slab_bytes) - within);
        const Bytes part = record.data_in_slab(offset + at, n);
        std::memcpy(out.data() + at, part.data(), n);
        at += n;
    }
    return out;
}

}  // namespace

bool Feed::needed(Mutant mutant) noexcept {
    return mutant == Mutant::coalesced_across_point || mutant == Mutant::base_over_writes ||
           mutant == Mutant::slab_leak;
}

pipeline::Progress Feed::step(std::size_t budget) {
    bool worked = false;
    for (std::size_t i = 0; i < budget; ++i) {
        if (!held_) {
            pipeline::StoredRecord next;
            if (in_.try_pop(next)) {
                worked = true;
                if (!change(next)) {
                    continue;
                }
                held_ = std::move(next);
            } else if (delayed_) {
                held_ = std::exchange(delayed_, std::nullopt);  // Nothing came to be included.
            } else {
                break;
            }
        }
        if (!out_.try_push(*held_)) {
            break;
        }
        held_ = std::exchange(delayed_, std::nullopt);
        worked = true;
        wake_();
    }
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

// False: it is kept for later.
bool Feed::change(pipeline::StoredRecord& stored) {
    pipeline::Record& record = stored.record;
    if (mutant_ == Mutant::coalesced_across_point && record.header.type == RecordType::point &&
        !delayed_) {
        delayed_ = std::move(stored);  // The barrier comes after the next record,
        return false;
    }
    if (delayed_ && record.header.type == RecordType::write) {
        include(delayed_->record, record.header);  // which then belongs to the point.
    }
    if (mutant_ == Mutant::slab_leak && record.slabs[0] && raw(stored.lsn) % 16 == 0) {
        kept_.push_back(std::move(record.slabs[0]));
        record.drop_data();
        record.table = {};
    }
    if (mutant_ == Mutant::base_over_writes && record.has_data() && record.header.data_bytes > 0) {
        lay_base_over(record);
    }
    return true;
}

void Feed::include(pipeline::Record& barrier, const pipeline::RecordHeader& write) {
    auto point = pipeline::decode_point(barrier.table.bytes());
    if (!point) {
        return;
    }
    for (pipeline::DiskCut& cut : point->cuts) {
        if (cut.disk == write.key.disk && cut.generation == write.key.generation) {
            cut.cut = std::max(cut.cut, Seq{raw(write.seq) + write.seq_count - 1});
        }
    }
    const ByteVector payload = pipeline::encode_point(*point);
    std::copy(payload.begin(), payload.end(), barrier.table.bytes().begin());
    barrier.header.table_crc = crc32c(barrier.table.bytes());
}

void Feed::lay_base_over(pipeline::Record& record) {
    auto table =
        pipeline::read_extent_table(record.table.bytes(), record.header.data_bytes, UINT64_MAX);
    if (!table) {
        return;
    }
    std::vector<Beneath>& base = base_[record.header.key.disk];
    for (pipeline::Extent& extent : table->extents) {
        if (extent.op != pipeline::ExtentOp::write) {
            continue;
        }
        ByteVector data = data_of(record, extent.data_position, extent.length);
        if (record.header.type == RecordType::base) {
            base.push_back({extent.offset, std::move(data)});
            continue;
        }
        for (const Beneath& piece : base) {
            const std::uint64_t from = std::max(piece.offset, extent.offset);
            const std::uint64_t to =
                std::min(piece.offset + piece.bytes.size(), extent.offset + extent.length);
            for (std::uint64_t at = from; at < to; ++at) {
                const std::uint64_t place = extent.data_position + (at - extent.offset);
                record.slabs[place / pipeline::slab_bytes].bytes()[place % pipeline::slab_bytes] =
                    piece.bytes[at - piece.offset];
            }
        }
        extent.crc = crc32c(data_of(record, extent.data_position, extent.length));
    }
    if (record.header.type == RecordType::write) {
        pipeline::write_extent_table(*table, record.table.bytes());
        record.header.table_crc = crc32c(record.table.bytes());
    }
}

}  // namespace cw::sim
