#include "egress/volume/point_check.h"

#include "egress/volume/overlay.h"
#include "egress/volume/undo_log.h"

namespace cw::volume {
namespace {

Result<std::uint64_t> read_whole(UndoLog& log, std::uint64_t disk_bytes) {
    std::uint64_t bytes = 0;
    UndoLog::Batch batch;
    while (true) {
        CW_TRY_ASSIGN(const bool more, log.next(batch));
        if (!more) {
            return bytes;
        }
        for (const UndoLog::Run& run : batch.runs) {
            if (run.length == 0 || run.offset > disk_bytes ||
                run.length > disk_bytes - run.offset) {
                return fail(Errc::record_corrupt, "undo log: a run beyond the disk");
            }
        }
        bytes += batch.content.size();
    }
}

}  // namespace

Result<std::vector<PointCheck>> check_points(Disk& disk, const std::string& work_directory) {
    CW_TRY_ASSIGN(const VolumeState state, read_volume_state(disk, work_directory + "/state"));
    std::vector<PointCheck> out;
    if (!state.point || state.phase == Phase::done) {
        return out;
    }
    const auto held = Overlay::check(disk, work_directory + "/overlay",
                                     work_directory + "/overlay.map", state.size_bytes);
    PointCheck& newest = out.emplace_back();
    newest.point = *state.point;
    newest.read_bytes = held.value_or(0);
    if (!held) {
        newest.trouble = held.error();
    }
    if (state.phase == Phase::switching) {
        return out;  // Decided: there is no way to another one.
    }
    for (std::uint64_t number = state.log_number; number-- > 0;) {
        const std::string path = work_directory + "/undo." + std::to_string(number);
        const auto log = UndoLog::open(disk, path, number);
        if (!log && log.error().code != Errc::not_found) {
            return std::unexpected(log.error());
        }
        if (!log || !*log) {
            break;  // The oldest, or what was older has just been given up.
        }
        const auto whole = read_whole(**log, state.size_bytes);
        PointCheck one{.point = (*log)->point(), .read_bytes = whole.value_or(0), .trouble = {}};
        one.trouble = out.back().trouble;  // The way back passes all later ones.
        if (!whole && !one.trouble) {
            one.trouble = whole.error();
        }
        if (state.phase == Phase::returning && one.point.id == state.point->id) {
            out.front().trouble = one.trouble;  // The one that the overlay is taken back to.
            return {std::vector{out.front()}};
        }
        out.push_back(std::move(one));
    }
    return out;
}

}  // namespace cw::volume
