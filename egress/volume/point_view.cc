#include "egress/volume/point_view.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::volume {
namespace {

std::string undo_path(const std::string& directory, std::uint64_t number) {
    return directory + "/undo." + std::to_string(number);
}

// What is left of the points once a target was told to become one is not read.
Result<void> check_collecting(const VolumeState& state) {
    if (state.phase == Phase::done) {
        return std::unexpected(
            Error{Errc::target_switching,
                  state.target_path + " is one point: there is nothing to be read from it any more",
                  "causeway undo-failover MACHINE, or causeway target cancel MACHINE DISK, makes "
                  "it a target again"});
    }
    if (state.phase != Phase::collecting) {
        return fail(Errc::target_switching, state.target_path + " is " +
                                                std::string(name_of(state.phase)) +
                                                ": it becomes, or is, one point");
    }
    return {};
}

}  // namespace

Result<PointList> list_points(Disk& disk, const std::string& work_directory) {
    PointList out;
    CW_TRY_ASSIGN(out.state, read_volume_state(disk, work_directory + "/state"));
    if (out.state.point) {
        out.points.push_back(*out.state.point);
    }
    if (!out.state.point || out.state.phase != Phase::collecting) {
        return out;
    }
    for (std::uint64_t number = out.state.log_number; number-- > 0;) {
        const auto log = UndoLog::open(disk, undo_path(work_directory, number), number);
        if (!log && log.error().code != Errc::not_found) {
            return std::unexpected(log.error());
        }
        if (!log || !*log) {
            break;  // The oldest, or what was older has just been given up.
        }
        out.points.push_back(with_decision((*log)->point(), out.state));
    }
    return out;
}

Result<std::unique_ptr<PointView>> PointView::open(Disk& disk, const Options& options) {
    CW_TRY_ASSIGN(auto pin, PointPin::take(disk, options.work_directory, options.point,
                                           options.reader));  // Before anything is looked at.
    CW_TRY_ASSIGN(const VolumeState state,
                  read_volume_state(disk, options.work_directory + "/state"));
    CW_TRY(check_collecting(state));
    if (!state.point) {
        return fail(Errc::point_not_found, "no point is held yet");
    }
    std::unique_ptr<PointView> view(new PointView(disk, options, state));
    view->pin_ = std::move(pin);
    CW_TRY_ASSIGN(view->next_, view->number_of_point());
    OpenOptions how;
    how.direct = state.target_identity.starts_with("device ");
    CW_TRY_ASSIGN(auto target, disk.open(options.target_path, how));
    view->target_ = std::make_unique<TargetIo>(disk, std::move(target), how.direct);
    if (view->target_->size() != state.size_bytes) {
        return fail(Errc::target_unsafe, options.target_path + " is not of the disk's size");
    }
    // After the state: what was merged into it since lies in undo logs that are whole by now.
    CW_TRY_ASSIGN(view->overlay_,
                  Overlay::open_for_reading(disk, view->path("overlay"), view->path("overlay.map"),
                                            *view->target_, state.size_bytes));
    CW_TRY(view->catch_up());
    return view;
}

// Of the undo log that returns to the point: the one that the next merge writes, if it is held.
Result<std::uint64_t> PointView::number_of_point() {
    if (state_.point->id == options_.point) {
        return state_.log_number;
    }
    for (std::uint64_t number = state_.log_number; number-- > 0;) {
        CW_TRY_ASSIGN(const auto log,
                      UndoLog::open(disk_, undo_path(options_.work_directory, number), number));
        if (!log) {
            break;
        }
        if (log->point().id == options_.point) {
            return number;
        }
    }
    return fail(Errc::point_not_found, to_string(options_.point));
}

// True: undo logs have become whole since the last call.
Result<bool> PointView::catch_up() {
    const auto state = read_volume_state(disk_, path("state"));
    CW_TRY_ASSIGN(const bool pinned, pin_->holds());
    if (!pinned || (!state && state.error().code == Errc::not_found)) {
        // Told apart from a switch, which also ends in taking everything away.
        CW_TRY(state ? check_collecting(*state) : Result<void>{});
        return fail(Errc::point_not_found, "what the target had collected is given up");
    }
    if (!state) {
        return std::unexpected(state.error());
    }
    CW_TRY(check_collecting(*state));
    bool grown = false;
    while (next_ < state->log_number) {
        CW_TRY_ASSIGN(const bool there, add_next());
        if (!there) {
            return fail(Errc::point_not_found,
                        "undo log " + std::to_string(next_) + " was given up for lack of room");
        }
        grown = true;
    }
    if (next_ == state->log_number) {  // Of the merge under way, if there is one.
        if (state->without_undo) {
            return fail(Errc::point_not_found,
                        "a merge goes on that keeps nothing: there was no "
                        "room, or points.target_retention is 0");
        }
        CW_TRY_ASSIGN(const bool there, add_next());
        grown = grown || there;
    }
    return grown;
}

// False: it is not there, or not whole.
Result<bool> PointView::add_next() {
    CW_TRY_ASSIGN(const auto log,
                  UndoLog::open(disk_, undo_path(options_.work_directory, next_), next_));
    if (!log) {
        return false;
    }
    if (first_ && log->point().id != options_.point) {
        return fail(Errc::record_corrupt, "the undo logs do not lead to the point");
    }
    CW_TRY(index_.add(*log, next_));
    first_ = false;
    ++next_;
    return true;
}

Result<void> PointView::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size_bytes() && out.size() <= size_bytes() - offset);
    const auto part = [&](const UndoIndex::Piece& piece) {
        return out.subspan(piece.offset - offset, piece.length);
    };
    for (bool again = true; again;) {
        for (const UndoIndex::Piece& piece : index_.pieces(offset, out.size())) {
            if (!piece.held) {
                CW_TRY(overlay_->read(piece.offset, part(piece)));
            }
        }
        CW_TRY_ASSIGN(again, catch_up());
    }
    for (const UndoIndex::Piece& piece : index_.pieces(offset, out.size())) {
        if (piece.held) {
            CW_TRY(index_.read(piece.offset, part(piece)));
        }
    }
    return {};
}

}  // namespace cw::volume
