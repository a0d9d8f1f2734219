// VolumeWriter's ways back and out: a lost merge, cancel, and the switch with what it may have to
// return to first.
#include "base/crash_point.h"
#include "base/full_disk.h"
#include "egress/volume/point_readers.h"
#include "egress/volume/volume_writer.h"

#include <algorithm>

namespace cw::volume {
namespace {

constexpr std::uint64_t copy_bytes = 1 * mib;

}  // namespace

// A merge had begun, and its records can no longer be read: back to the point before.
Result<void> VolumeWriter::undo_lost_merge() {
    const std::string undo_path = history_->path_of(state_.log_number);
    CW_TRY_ASSIGN(const auto undo, UndoLog::open(context_.disk, undo_path, state_.log_number));
    if (!undo) {
        return {};
    }
    CW_TRY(turn_readers_away(context_.disk, options_.work_directory));  // They know this log.
    to_undo_ = {state_.log_number};
    CW_TRY(return_some(UINT64_MAX));
    CW_TRY(context_.disk.remove(undo_path));
    return context_.disk.sync_directory(options_.work_directory);
}

Result<void> VolumeWriter::cancel() {
    if (state_.phase == Phase::switching) {
        return fail(Errc::target_switching, options_.target_path);
    }
    merge_.reset();
    undoing_.reset();
    to_undo_.clear();
    overlay_.reset();
    log_.reset();
    history_.reset();
    pending_.clear();
    // First the word, then the deed: a kill in between leaves files that the next start clears.
    CW_TRY(context_.disk.remove(path("state")));
    CW_TRY(context_.disk.sync_directory(options_.work_directory));
    CW_CRASH_POINT("volume.cancelled");
    fence_.reset();
    era_ = 0;
    broken_ = false;
    switch_work_ = {};
    return start();
}

Result<void> VolumeWriter::begin_switch(const PointId& wanted) {
    if (state_.phase == Phase::done) {
        return fail(Errc::transition_refused,
                    options_.target_path +
                        " is a point already; causeway target cancel makes it a target again");
    }
    if (state_.phase != Phase::collecting) {
        return fail(Errc::target_switching, options_.target_path);
    }
    CW_ASSERT(!merging());
    VolumeState after = state_;
    after.phase = Phase::switching;
    if (!state_.point || state_.point->id != wanted) {
        const auto kept = std::ranges::find_if(
            kept_points(), [&](const KeptPoint& one) { return one.point.id == wanted; });
        if (kept == kept_points().end()) {
            return fail(Errc::point_not_found,
                        "the overlay holds " +
                            (state_.point ? to_string(state_.point->id) + " and " +
                                                std::to_string(kept_points().size()) + " before it"
                                          : std::string("no point")));
        }
        after.phase = Phase::returning;
        after.point = with_decision(kept->point, state_);
    }
    CW_TRY(context_.probe.check_unused(options_.target_path, hold_.get()));
    CW_TRY_ASSIGN(const std::string identity, context_.probe.identity(options_.target_path));
    if (identity != state_.target_identity) {
        return fail(Errc::target_unsafe, options_.target_path + " has become '" + identity + "'");
    }
    CW_TRY(check_untouched());
    CW_TRY(check_writable());  // Behind the switch there is no way back.
    CW_CRASH_POINT("volume.before_switch");
    after.received = received_;  // What came after the point is known to be lost, also later.
    CW_TRY(set_state(std::move(after)));
    CW_CRASH_POINT("volume.switched");
    return begin_copy();
}

// Prepares what apply_some() does, after begin_switch() or when it is resumed.
Result<void> VolumeWriter::begin_copy() {
    applied_to_ = 0;
    to_undo_.clear();
    if (state_.phase == Phase::returning) {
        const auto& kept = history_->points();
        const auto to = std::ranges::find_if(
            kept, [&](const KeptPoint& one) { return one.point.id == state_.point->id; });
        if (to == kept.end()) {
            return fail(Errc::record_corrupt, "the undo log of the point to return to is gone");
        }
        for (auto one = to + 1; one != kept.begin();) {
            to_undo_.push_back((--one)->number);  // The newest last: it is the first to be undone.
        }
        switch_work_ = {.done_bytes = 0, .total_bytes = overlay_->held_bytes()};
        return {};
    }
    switch_work_ = {.done_bytes = 0, .total_bytes = overlay_->held_bytes()};
    CW_TRY(open_target());  // Now for writing.
    if (hold_) {
        CW_TRY(hold_->begin_writing());
    }
    overlay_->rebind(*target_);
    return {};
}

// The overlay goes back, merge by merge; the target is only read. True when it is there, settled.
Result<bool> VolumeWriter::return_some(std::uint64_t budget_bytes) {
    UndoLog::Batch batch;
    for (std::uint64_t done = 0; done < budget_bytes;) {
        if (!undoing_ && to_undo_.empty()) {
            return true;
        }
        if (!undoing_) {
            const std::uint64_t number = to_undo_.back();
            CW_TRY_ASSIGN(undoing_,
                          UndoLog::open(context_.disk, history_->path_of(number), number));
            if (!undoing_) {
                return fail(Errc::record_corrupt, "undo log " + std::to_string(number));
            }
        }
        CW_TRY_ASSIGN(const bool more, undoing_->next(batch));
        if (!more) {
            undoing_.reset();
            to_undo_.pop_back();
            CW_TRY(overlay_->settle());
            CW_CRASH_POINT("volume.undone");
            continue;
        }
        std::size_t at = 0;
        for (const UndoLog::Run& run : batch.runs) {
            if (run.length == 0 || run.offset > options_.size_bytes ||
                run.length > options_.size_bytes - run.offset) {
                return fail(Errc::record_corrupt, "undo log: a run beyond the disk");
            }
            CW_TRY(overlay_->write(run.offset, Bytes(batch.content).subspan(at, run.length)));
            at += run.length;
        }
        done += batch.content.size();
    }
    return false;
}

Result<bool> VolumeWriter::apply_some(std::uint64_t budget_bytes) {
    if (state_.phase == Phase::done) {
        return true;
    }
    if (state_.phase == Phase::returning) {
        CW_TRY_ASSIGN(const bool returned, return_some(budget_bytes));
        if (!returned) {
            return false;
        }
        VolumeState after = state_;
        after.phase = Phase::switching;
        CW_TRY(set_state(std::move(after)));
        CW_CRASH_POINT("volume.returned");
        CW_TRY(begin_copy());
    }
    if (state_.phase != Phase::switching) {
        return fail(Errc::usage, "nothing was switched");
    }
    const auto room_at_target = [this](Result<void> written) {
        return name_full_disk(std::move(written), options_.target_path, "the switch");
    };
    ByteVector piece(copy_bytes);
    for (std::uint64_t done = 0; done < budget_bytes;) {
        const Overlay::Run run = overlay_->next_run(applied_to_, copy_bytes);
        if (run.length == 0) {
            CW_TRY(room_at_target(target_->sync()));
            CW_CRASH_POINT("volume.copied");
            VolumeState after = state_;
            after.phase = Phase::done;
            CW_TRY(set_state(std::move(after)));
            CW_CRASH_POINT("volume.done");
            overlay_.reset();
            log_.reset();
            history_.reset();
            hold_.reset();
            CW_TRY(clear_work_files(context_.disk, options_.work_directory));
            return true;
        }
        const MutableBytes part = MutableBytes(piece).first(run.length);
        CW_TRY(overlay_->read(run.offset, part));
        CW_TRY(room_at_target(target_->write(run.offset, part)));
        CW_CRASH_POINT("volume.piece_copied");
        applied_to_ = run.offset + run.length;
        done += run.length;
        switch_work_.done_bytes += run.length;
    }
    // Or one sync of everything at the end would take too long for one call.
    CW_TRY(room_at_target(target_->sync()));
    return false;
}

VolumeWork VolumeWriter::work() const noexcept {
    if (merge_) {
        return merge_->work();
    }
    return switching() ? switch_work_ : VolumeWork{};
}

}  // namespace cw::volume
