#include "egress/volume/point_merge.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/crash_point.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace cw::volume {
namespace {

using pipeline::ExtentOp;
using pipeline::RecordType;

// BASE of a fence that never ended does not count. BASE of fence S0 lies above everything < S0 and
// beneath everything > S0, whenever it came.
std::vector<RedoEntry> those_that_count(const std::vector<RedoEntry>& pending) {
    std::set<std::pair<std::uint32_t, Seq>> ended;
    std::optional<std::pair<std::uint32_t, Seq>> open;
    for (const RedoEntry& entry : pending) {
        if (entry.header.type == RecordType::resync_begin) {
            open = {entry.era, entry.header.seq};
        } else if (entry.header.type == RecordType::resync_end && open) {
            ended.insert(*open);
        }
    }
    std::vector<RedoEntry> out;
    std::ranges::copy_if(pending, std::back_inserter(out), [&](const RedoEntry& entry) {
        return entry.header.type == RecordType::write ||
               (entry.header.type == RecordType::base &&
                ended.contains({entry.era, entry.header.seq}));
    });
    std::ranges::stable_sort(
        out, {}, [](const RedoEntry& entry) { return std::tuple(entry.era, entry.header.seq); });
    return out;
}

}  // namespace

PointMerge::PointMerge(const HeldPoint& point, const std::vector<RedoEntry>& pending, Parts parts,
                       std::unique_ptr<UndoLog> undo, bool kept)
    : point_(point),
      parts_(parts),
      entries_(those_that_count(pending)),
      undo_(std::move(undo)),
      kept_(kept) {
    for (const RedoEntry& entry : entries_) {
        work_.total_bytes += entry.header.data_bytes;
    }
    if (undo_) {
        work_.total_bytes *= 2;
        seen_.resize((parts_.size_bytes + block_bytes - 1) / block_bytes);
    }
}

void PointMerge::drop_undo() noexcept {
    next_ = undo_ ? 0 : next_;
    table_.reset();
    undo_.reset();
    kept_ = false;
    seen_ = {};
}

Result<bool> PointMerge::step(std::uint64_t budget_bytes) {
    for (std::uint64_t done = 0; done < budget_bytes;) {
        if (!table_ && next_ == entries_.size()) {
            CW_TRY_ASSIGN(const bool complete, end_pass());
            if (complete) {
                return true;
            }
            continue;
        }
        if (!table_) {
            CW_TRY_ASSIGN(table_, table_of(entries_[next_]));
            extent_ = 0;
            done += block_bytes;
        }
        if (extent_ == table_->extents.size()) {
            work_.done_bytes += entries_[next_].header.data_bytes;
            table_.reset();
            ++next_;
            continue;
        }
        const pipeline::Extent& extent = table_->extents[extent_];
        CW_TRY(undo_ ? keep(extent) : apply(entries_[next_], extent));
        CW_CRASH_POINT("volume.extent_merged");
        ++extent_;
        done += extent.length;
        unsettled_ += undo_ ? 0 : extent.length;
        // A sync of everything at the end would take too long for one call.
        if (unsettled_ >= settle_bytes) {
            CW_TRY(parts_.overlay.settle());
            unsettled_ = 0;
        }
    }
    return false;
}

// True: that was all.
Result<bool> PointMerge::end_pass() {
    if (!undo_) {
        CW_TRY(parts_.overlay.settle());
        CW_CRASH_POINT("volume.merged");
        return true;
    }
    CW_TRY(undo_->finish());
    CW_CRASH_POINT("volume.undo_kept");
    undo_.reset();
    kept_ = true;
    seen_ = {};
    next_ = 0;
    return false;
}

Result<pipeline::ExtentTable> PointMerge::table_of(const RedoEntry& entry) {
    CW_TRY_ASSIGN(const ByteVector bytes, parts_.log.table(entry));
    return pipeline::read_extent_table(bytes, entry.header.data_bytes, parts_.size_bytes);
}

Result<void> PointMerge::keep(const pipeline::Extent& extent) {
    constexpr std::uint64_t blocks_max = UndoLog::run_bytes_max / block_bytes;
    const std::uint64_t end = (extent.offset + extent.length - 1) / block_bytes + 1;
    for (std::uint64_t block = extent.offset / block_bytes; block < end;) {
        std::uint64_t run = 0;
        while (block + run < end && run < blocks_max && !seen_[block + run]) {
            ++run;
        }
        if (run > 0) {
            CW_TRY(keep_blocks(block, run));
        }
        block += std::max<std::uint64_t>(run, 1);
    }
    return {};
}

Result<void> PointMerge::keep_blocks(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t offset = first * block_bytes;
    ByteVector content(std::min(count * block_bytes, parts_.size_bytes - offset));
    CW_TRY(parts_.overlay.read(offset, content));
    CW_TRY(undo_->add(offset, content));
    std::fill_n(seen_.begin() + static_cast<std::ptrdiff_t>(first), count, true);
    return {};
}

Result<void> PointMerge::apply(const RedoEntry& entry, const pipeline::Extent& extent) {
    if (extent.op != ExtentOp::write) {
        return parts_.overlay.zero(extent.offset, extent.length);
    }
    CW_TRY_ASSIGN(const ByteVector data,
                  parts_.log.data(entry, extent.data_position, extent.length));
    if (crc32c(data) != extent.crc) {  // End to end: from the agent to here.
        return fail(Errc::record_corrupt,
                    "redo log, sequence " + std::to_string(raw(entry.header.seq)));
    }
    return parts_.overlay.write(extent.offset, data);
}

}  // namespace cw::volume
