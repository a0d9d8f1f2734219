#include "egress/volume/volume_writer.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "egress/volume/point_readers.h"
#include "pipeline/fence.h"

#include <algorithm>

namespace cw::volume {
namespace {

using pipeline::Record;
using pipeline::RecordHeader;
using pipeline::RecordType;

constexpr std::uint32_t digests_at_once = 16;

Seq last_of(const RecordHeader& header) {
    return Seq{raw(header.seq) + header.seq_count - 1};
}

bool has_extents(RecordType type) noexcept {
    return type == RecordType::write || type == RecordType::base;
}

}  // namespace

// Keeps the books of one entry that is in the log.
Result<void> VolumeWriter::note(const RedoEntry& entry) {
    const RecordHeader& header = entry.header;
    if (header.type == RecordType::resync_begin) {
        era_ += header.key.generation != generation_ ? 1U : 0U;
        generation_ = header.key.generation;
        fence_ = header.seq;
    } else if (header.type == RecordType::resync_end) {
        fence_.reset();
    }
    if (header.seq_count > 0) {
        received_ = last_of(header);
    }
    if (has_extents(header.type)) {
        CW_TRY_ASSIGN(const ByteVector bytes, log_->table(entry));
        CW_TRY_ASSIGN(const auto table,
                      pipeline::read_extent_table(bytes, header.data_bytes, options_.size_bytes));
        for (const auto& extent : table.extents) {
            const std::uint64_t last = (extent.offset + extent.length - 1) / digest_bytes;
            for (std::uint64_t block = extent.offset / digest_bytes; block <= last; ++block) {
                unsettled_[block] = true;
            }
        }
    }
    pending_.push_back(entry);
    pending_.back().era = era_;
    return {};
}

// True: to be taken. False: a duplicate.
Result<bool> VolumeWriter::check_sequence(const RecordHeader& header) {
    if (header.type == RecordType::resync_begin) {
        const bool anew = header.key.generation != generation_;
        if (!anew && header.seq <= received_) {
            return false;
        }
        if (!pipeline::resumes_at(header, received_)) {
            return fail(Errc::seq_gap, "a fence that does not cover what is missing above " +
                                           std::to_string(raw(received_)));
        }
        return true;  // May jump forward: its BASE covers what lies between.
    }
    if (header.key.generation != generation_) {
        return fail(Errc::generation_mismatch, "expected a RESYNC_BEGIN");
    }
    if (header.type == RecordType::base) {
        if (!fence_ || header.seq != *fence_) {
            return fail(Errc::generation_mismatch, "BASE of a fence that is not open");
        }
        return true;
    }
    if (header.seq_count == 0) {
        return true;
    }
    if (last_of(header) <= received_) {
        return false;
    }
    if (header.seq != next(received_)) {
        return fail(Errc::seq_gap, "expected " + std::to_string(raw(received_) + 1) + ", not " +
                                       std::to_string(raw(header.seq)));
    }
    if (header.type == RecordType::resync_end && !fence_) {
        return fail(Errc::generation_mismatch, "RESYNC_END without a fence");
    }
    return true;
}

Result<void> VolumeWriter::take(const Record& record) {
    if (broken_) {
        return fail(Errc::io_error, "the redo log failed; reopen the volume");
    }
    if (state_.phase != Phase::collecting) {
        return fail(Errc::target_switching, options_.target_path);
    }
    CW_ASSERT(!merging());
    const RecordHeader& header = record.header;
    if (header.type == RecordType::point) {
        return take_point(record);
    }
    if (header.type == RecordType::resize) {
        return fail(Errc::size_mismatch, "the disk was resized: the target keeps its size");
    }
    if (header.type == RecordType::flush) {
        return {};  // Every sync covers everything taken.
    }
    if (header.type == RecordType::point_result) {
        return take_point_result(record);
    }
    CW_TRY_ASSIGN(const bool wanted, check_sequence(header));
    if (!wanted) {
        return {};
    }
    if (has_extents(header.type)) {
        CW_TRY_ASSIGN(const auto table,
                      pipeline::read_extent_table(record.table.bytes(), header.data_bytes,
                                                  options_.size_bytes));
        CW_TRY(pipeline::check_extents(record, table));
    }
    CW_TRY_ASSIGN(const RedoEntry entry, append(record));
    return note(entry);
}

Result<RedoEntry> VolumeWriter::append(const Record& record) {
    auto entry = log_->append(record);
    if (!entry && entry.error().code == Errc::disk_full && !kept_points().empty()) {
        CW_TRY(give_up_history());
        entry = log_->append(record);
    }
    broken_ = broken_ || !entry;  // What it left behind is unknown: recovery decides.
    return entry;
}

Result<void> VolumeWriter::sync() {
    if (auto synced = log_->sync(); !synced) {
        broken_ = true;  // Never retried: the kernel may have marked the pages clean.
        return synced;
    }
    durable_ = received_;
    return {};
}

Result<void> VolumeWriter::take_point(const Record& record) {
    CW_TRY_ASSIGN(const auto point, pipeline::decode_point(record.table.bytes()));
    const auto cut = std::ranges::find(point.cuts, options_.disk, &pipeline::DiskCut::disk);
    if (cut == point.cuts.end() || cut->generation != generation_ || cut->cut != received_ ||
        fence_) {
        return fail(Errc::seq_gap, "the point does not fit this disk: cut or fence");
    }
    Record kept;  // Only what identifies it: its place in the log says the rest.
    kept.header = record.header;
    kept.header.key.generation = generation_;
    kept.header.data_bytes = 0;
    kept.table = pipeline::TableBuffer(record.table.bytes().size());
    std::copy_n(record.table.bytes().begin(), record.table.bytes().size(),
                kept.table.bytes().begin());
    CW_TRY(append(kept));
    CW_TRY(sync());  // The point stands: from here on the merge is repeated until it succeeds.
    CW_CRASH_POINT("volume.point_taken");
    const auto begun = begin_merge(held_by_merge(point));
    broken_ = broken_ || !begun;
    return begun;
}

HeldPoint VolumeWriter::held_by_merge(const pipeline::Point& point) const {
    return {.id = point.id,
            .generation = generation_,
            .cut = received_,
            .source_time = point.source_time,
            .kind = point.kind,
            .tag = point.tag,
            .group = point.group,
            .provisional = point.provisional && !point.group.is_nil()};
}

Result<void> VolumeWriter::begin_merge(const HeldPoint& point) {
    std::unique_ptr<UndoLog> undo;
    bool kept = false;
    CW_TRY_ASSIGN(const auto read, points_being_read(context_.disk, options_.work_directory));
    const bool keeps = options_.retention_us > 0 || !read.empty();
    if (state_.point && !keeps && !state_.without_undo) {
        CW_TRY(set_without_undo());
    } else if (state_.point && !state_.without_undo) {
        const std::string undo_path = history_->path_of(state_.log_number);
        CW_TRY_ASSIGN(const auto whole, UndoLog::open(context_.disk, undo_path, state_.log_number));
        kept = whole != nullptr;  // Then the overlay may have been written already.
        if (!kept) {
            CW_TRY_ASSIGN(
                undo, UndoLog::create(context_.disk, undo_path, state_.log_number, *state_.point));
            CW_TRY(context_.disk.sync_directory(options_.work_directory));
        }
    }
    merge_ = std::make_unique<PointMerge>(point, pending_,
                                          PointMerge::Parts{*overlay_, *log_, options_.size_bytes},
                                          std::move(undo), kept);
    return {};
}

Result<bool> VolumeWriter::merge_some(std::uint64_t budget_bytes) {
    if (!merge_) {
        return true;
    }
    auto merged = merge_->step(budget_bytes);
    if (!merged && merged.error().code == Errc::disk_full &&
        (merge_->has_undo() || !kept_points().empty())) {
        const auto given_up = give_up_history();
        broken_ = broken_ || !given_up;
        CW_TRY(given_up);
        return false;
    }
    if (merged && *merged) {
        if (auto ended = end_merge(); !ended) {
            merged = std::unexpected(ended.error());
        }
    }
    broken_ = broken_ || !merged;
    return merged;
}

Result<void> VolumeWriter::end_merge() {
    VolumeState after = state_;
    after.point = merge_->point();
    after.generation = generation_;
    after.received = received_;
    ++after.log_number;
    after.without_undo = false;
    forget_decisions(after);
    const VolumeState before = state_;
    CW_TRY(set_state(after));
    CW_CRASH_POINT("volume.point_held");
    if (merge_->has_undo()) {
        history_->add(before.log_number, *before.point);
    } else {
        CW_TRY(history_->clear());  // What lies before this merge cannot be reached any more.
    }
    merge_.reset();
    log_->restart(state_.log_number);
    pending_.clear();
    unsettled_.assign(unsettled_.size(), false);
    durable_ = received_;
    CW_TRY_ASSIGN(const auto read, points_being_read(context_.disk, options_.work_directory));
    return history_->trim(WallMicros{raw(state_.point->source_time) - options_.retention_us}, read);
}

// Room for what is being collected is worth more than points of yesterday.
Result<void> VolumeWriter::give_up_history() {
    log_warning("volume.history_given_up",
                {{"directory", options_.work_directory}, {"points", kept_points().size()}});
    CW_TRY(history_->trim(WallMicros{INT64_MAX}));  // The state needs room, too.
    if (merge_ && merge_->keeping()) {
        merge_->drop_undo();
        CW_TRY(history_->clear());
        return set_without_undo();
    }
    if (merge_ && merge_->has_undo()) {
        CW_TRY(set_without_undo());  // First: without its undo log this merge only goes forward.
        merge_->drop_undo();
        return history_->clear();
    }
    return {};
}

Result<void> VolumeWriter::set_without_undo() {
    VolumeState after = state_;
    after.without_undo = true;
    return set_state(std::move(after));
}

Result<void> VolumeWriter::set_state(VolumeState after) {
    CW_TRY(write_volume_state(context_.disk, path("state"), after));
    state_ = std::move(after);
    return {};
}

const std::vector<KeptPoint>& VolumeWriter::kept_points() const noexcept {
    static const std::vector<KeptPoint> none;
    return history_ ? history_->points() : none;
}

Result<std::vector<std::optional<Fingerprint>>> VolumeWriter::digests(
    std::uint64_t first_block, std::uint32_t count, const FingerprintSecret& secret) {
    std::vector<std::optional<Fingerprint>> out(count);
    if (state_.phase != Phase::collecting) {
        return out;
    }
    const std::uint64_t whole = options_.size_bytes / digest_bytes;
    const auto settled = [&](std::uint32_t i) {
        return first_block + i < whole && !unsettled_[first_block + i];
    };
    ByteVector content;
    for (std::uint32_t i = 0; i < count;) {
        std::uint32_t run = 0;
        while (run < digests_at_once && i + run < count && settled(i + run)) {
            ++run;
        }
        content.resize(run * digest_bytes);
        if (run > 0) {
            CW_TRY(overlay_->read((first_block + i) * digest_bytes, content));
        }
        for (std::uint32_t j = 0; j < run; ++j) {
            out[i + j] =
                fingerprint(Bytes(content).subspan(j * digest_bytes, digest_bytes), secret);
        }
        i += std::max(run, 1U);
    }
    return out;
}

}  // namespace cw::volume
