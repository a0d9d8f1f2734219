// PointMerge: carries the records of one point from the redo log into the overlay, piece by piece.
//
//   keep   what will be overwritten, into an undo log (if there is a point to return to)
//   apply  the records, in the order of their sequences; settled every settle_bytes
//
// Idempotent: interrupted anywhere, it is begun again with the same records. The undo log is whole
// before the overlay is written, and is not written again when it is. Thread-safety: none.
#pragma once

#include "egress/volume/overlay.h"
#include "egress/volume/redo_log.h"
#include "egress/volume/undo_log.h"

#include <memory>
#include <optional>
#include <vector>

namespace cw::volume {

// How far a merge or a switch is. Estimates: for people.
struct VolumeWork {
    std::uint64_t done_bytes = 0, total_bytes = 0;
};

class PointMerge {
public:
    static constexpr std::uint64_t settle_bytes = 64 * mib;
    // All outlive the merge.
    struct Parts {
        Overlay& overlay;
        RedoLog& log;
        std::uint64_t size_bytes;
    };

    // `pending`: everything in the log, in order of arrival. `undo` may be null; `kept`: it was
    // finished before.
    PointMerge(const HeldPoint& point, const std::vector<RedoEntry>& pending, Parts parts,
               std::unique_ptr<UndoLog> undo, bool kept);

    [[nodiscard]] const HeldPoint& point() const noexcept { return point_; }
    // Works on about `budget_bytes`; true when the overlay holds the point, settled. After an error
    // it may be called again. Errors: disk_full, io_error, record_corrupt.
    Result<bool> step(std::uint64_t budget_bytes);
    // Goes on without: the point before cannot be returned to.
    void drop_undo() noexcept;
    [[nodiscard]] bool has_undo() const noexcept { return kept_ || undo_ != nullptr; }
    // The overlay has not been written yet.
    [[nodiscard]] bool keeping() const noexcept { return undo_ != nullptr; }
    [[nodiscard]] VolumeWork work() const noexcept { return work_; }

private:
    Result<pipeline::ExtentTable> table_of(const RedoEntry& entry);
    Result<bool> end_pass();
    Result<void> keep(const pipeline::Extent& extent);
    Result<void> keep_blocks(std::uint64_t first, std::uint64_t count);
    Result<void> apply(const RedoEntry& entry, const pipeline::Extent& extent);

    const HeldPoint point_;
    Parts parts_;
    std::vector<RedoEntry> entries_;  // Those that count, in the order of applying.
    std::size_t next_ = 0;
    std::optional<pipeline::ExtentTable> table_;  // Of entries_[next_], and the next extent in it.
    std::size_t extent_ = 0;
    std::unique_ptr<UndoLog> undo_;  // While it is written.
    bool kept_ = false;              // An undo log is whole.
    std::vector<bool> seen_;         // 4 KiB blocks in the undo log.
    std::uint64_t unsettled_ = 0;
    VolumeWork work_;
};

}  // namespace cw::volume
