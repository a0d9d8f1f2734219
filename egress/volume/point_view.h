// PointView: a disk as it was at a point that its target could become, read beside the process that
// goes on collecting there.
//
//   content = the oldest undo log since the point that holds the block, else overlay over target
//
// A merge overwrites a block of the overlay only when an undo log that holds it is whole. So what
// was read of the overlay counts only if no undo log has become whole meanwhile that holds it:
// each read looks afterwards, and takes the block from that log. A pin keeps the logs: they are
// not given up for their age while the view lives. Nothing of the work directory is changed.
//
// Once the target is switched, cancelled, or short of room, reads fail: never with other bytes.
// Thread-safety: none.
#pragma once

#include "egress/volume/overlay.h"
#include "egress/volume/point_readers.h"
#include "egress/volume/undo_index.h"
#include "egress/volume/volume_state.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::volume {

// Points that a target could become, the held one first, then earlier ones.
struct PointList {
    VolumeState state;
    std::vector<HeldPoint> points;
};
// Reads the heads of the undo logs only. Errors: not_found (nothing was begun), record_corrupt,
// io_error.
Result<PointList> list_points(Disk& disk, const std::string& work_directory);

class PointView {
public:
    struct Options {
        std::string work_directory;
        std::string target_path;  // Where it is now.
        PointId point;
        std::string reader;  // As PointPin::take().
        std::uint64_t memory_bytes = 1024 * mib;
    };
    // Errors: not_found, point_not_found, target_switching (it is becoming or has become a point),
    // record_corrupt, io_error, out_of_budget.
    static Result<std::unique_ptr<PointView>> open(Disk& disk, const Options& options);

    [[nodiscard]] std::uint64_t size_bytes() const noexcept { return state_.size_bytes; }
    // A range within the disk. Errors: as open().
    Result<void> read(std::uint64_t offset, MutableBytes out);

private:
    PointView(Disk& disk, const Options& options, const VolumeState& state)
        : disk_(disk),
          options_(options),
          state_(state),
          index_(disk, options.work_directory, state.size_bytes, options.memory_bytes) {}
    [[nodiscard]] std::string path(const std::string& name) const {
        return options_.work_directory + "/" + name;
    }
    Result<std::uint64_t> number_of_point();
    Result<bool> catch_up();
    Result<bool> add_next();

    Disk& disk_;
    const Options options_;
    const VolumeState state_;  // As the view was opened.
    std::unique_ptr<PointPin> pin_;
    std::unique_ptr<TargetIo> target_;
    std::unique_ptr<Overlay> overlay_;
    UndoIndex index_;
    std::uint64_t next_ = 0;  // Undo logs from the point's own up to this are in the index.
    bool first_ = true;       // None is.
};

}  // namespace cw::volume
