// PointHistory: the points before the held one to which the overlay can be taken back, each by the
// undo log of the merge that left it. Newest first, without gaps: going back to a point passes all
// newer ones.
//
// Files `undo.<number>`, the number being that of the redo log that was merged. That of the merge
// under way belongs to the history once the merge is recorded in the state. Thread-safety: none.
#pragma once

#include "egress/volume/undo_log.h"

#include <string>
#include <vector>

namespace cw::volume {

struct KeptPoint {
    std::uint64_t number = 0;  // Of the undo log that returns to it.
    HeldPoint point;
};

class PointHistory {
public:
    // `log_number`: of the redo log in use. Files that belong to nothing are removed.
    // Errors: io_error.
    static Result<PointHistory> open(Disk& disk, std::string directory, std::uint64_t log_number);

    [[nodiscard]] const std::vector<KeptPoint>& points() const noexcept { return points_; }
    [[nodiscard]] std::string path_of(std::uint64_t number) const {
        return directory_ + "/undo." + std::to_string(number);
    }
    // The merge of redo log `number` is recorded; its undo log, if there is one, returns to
    // `before`.
    void add(std::uint64_t number, const HeldPoint& before);
    // Forgets points of before `oldest`, but none of `wanted` nor what leads to it.
    // Errors: io_error.
    Result<void> trim(WallMicros oldest, const std::vector<PointId>& wanted = {});
    // Forgets all, also what a merge under way has kept. Errors: io_error.
    Result<void> clear();

private:
    PointHistory(Disk& disk, std::string directory)
        : disk_(&disk), directory_(std::move(directory)) {}
    Result<void> remove_from(std::size_t index);

    Disk* disk_;
    std::string directory_;
    std::vector<KeptPoint> points_;
};

// Removes what a work directory holds, the state first: without it the rest is nothing, whenever
// the power fails. Errors: io_error.
Result<void> clear_work_directory(Disk& disk, const std::string& directory);
// The same but for the state, which says that the rest is done with.
Result<void> clear_work_files(Disk& disk, const std::string& directory);

}  // namespace cw::volume
