// VolumeWriter: the master target's terminal stage for one disk. It takes records in order and
// turns an image file or block device into the state of one recovery point — through an overlay
// that is switched in at the end.
//
//   records → redo log → (at each point) overlay → (once, after SWITCH) target
//                              └ what it overwrites → undo log: a point to return to
//
// Invariants: until the durable SWITCH record the target is only read: cancel, kill or power loss
// leave it as it was. After it the overlay is a redo log of the target: applying is idempotent, is
// resumed at every start and cannot be cancelled, and the target is refused for use until it is
// done. The overlay always holds the state of exactly one recovery point: what came after it waits
// in the redo log; what came before can be returned to for `retention_us`. BASE data of a fence
// lies beneath the writes after it, whatever the order of arrival.
//
// Everything is kept in one work directory per disk (mode 0700), which must not lie on the target.
// A passive object: calls do bounded work, blocking on the disk only. Thread-safety: none.
#pragma once

#include "base/checksum.h"
#include "base/disk.h"
#include "egress/volume/overlay.h"
#include "egress/volume/point_history.h"
#include "egress/volume/point_merge.h"
#include "egress/volume/redo_log.h"
#include "egress/volume/target_io.h"
#include "egress/volume/target_probe.h"
#include "egress/volume/volume_state.h"
#include "pipeline/point.h"
#include "pipeline/record.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::volume {

class VolumeWriter {
public:
    struct Options {
        std::string work_directory;
        std::string target_path;
        DiskId disk;
        std::uint64_t size_bytes = 0;  // Of the disk; the target must have exactly this size.
        std::string
            expected_identity;  // TargetProbe::identity() at enrolment. Empty: not known yet.
        // Points that much older than the held one can be switched to as well. 0: none.
        std::int64_t retention_us = 0;
    };
    struct Context {
        Disk& disk;
        TargetProbe& probe;  // Both outlive the writer.
    };
    // Opens or resumes. Errors: target_unsafe (mounted, held, wrong size, other identity, or the
    // work directory belongs to another target), io_error, record_corrupt (state damaged).
    static Result<std::unique_ptr<VolumeWriter>> open(Options options, Context context);

    [[nodiscard]] Phase phase() const noexcept { return state_.phase; }
    // Where the stream goes on: WELCOME's generation and durable.
    [[nodiscard]] Generation generation() const noexcept { return generation_; }
    [[nodiscard]] Seq received() const noexcept { return received_; }
    [[nodiscard]] Seq durable() const noexcept { return durable_; }
    [[nodiscard]] Seq committed() const noexcept {
        return state_.point ? state_.point->cut : Seq{};
    }
    [[nodiscard]] std::optional<Seq> open_fence() const noexcept { return fence_; }
    // The point the overlay holds: what a switch would make of the target.
    [[nodiscard]] const std::optional<HeldPoint>& point() const noexcept { return state_.point; }
    // Earlier ones that a switch can name, the newest first.
    [[nodiscard]] const std::vector<KeptPoint>& kept_points() const noexcept;
    // Decided, and not done yet.
    [[nodiscard]] bool switching() const noexcept {
        return state_.phase == Phase::switching || state_.phase == Phase::returning;
    }
    // Of the merge or switch under way; zeros: none is.
    [[nodiscard]] VolumeWork work() const noexcept;

    // --- collecting ---
    // Takes a write, base, resync_begin/end, resize, point or point_result record. Duplicates are
    // dropped. A point is durable when take() returns and has then to be merged. Not while
    // merging(). Errors: seq_gap, size_mismatch, frame_malformed, payload_corrupt,
    // generation_mismatch: the record was not taken. disk_full, io_error: nothing more is taken
    // until reopened.
    Result<void> take(const pipeline::Record& record);
    // A point waits to be merged into the overlay: taken, or found at open().
    [[nodiscard]] bool merging() const noexcept { return merge_ != nullptr; }
    // Merges about `budget_bytes`; true when nothing is left: the point is held, and committed.
    // When there is no room, earlier points are given up first. Errors: as for take().
    Result<bool> merge_some(std::uint64_t budget_bytes);
    // What people call the machine; kept, also when what was collected is given up. At most
    // machine_name_bytes_max. Errors: io_error, disk_full.
    Result<void> name_machine(const std::string& name);
    // Everything taken is on stable storage.
    Result<void> sync();
    // Whether the target still has the content that the overlay was made over: nobody else wrote to
    // it. Of a device nobody knows. Errors: target_unsafe, not_found, io_error.
    [[nodiscard]] Result<void> check_untouched() const;
    // What the target holds now, whatever has been taken: it is only read until the switch.
    // A range of sectors within it. Errors: io_error.
    Result<void> read_target(std::uint64_t offset, MutableBytes out) {
        return target_->read(offset, out);
    }

    // Fingerprints of 64 KiB blocks of what the target would be with everything taken so far, so
    // that only differing blocks travel; nullopt where that is not settled yet. Blocks beyond the
    // end, and a partial last one, are unknown.
    Result<std::vector<std::optional<Fingerprint>>> digests(std::uint64_t first_block,
                                                            std::uint32_t count,
                                                            const FingerprintSecret& secret);
    // Forgets everything collected; the target is as it was. A done target begins anew. Possible
    // while the overlay returns to an earlier point. Errors: target_switching.
    Result<void> cancel();

    // --- the switch ---
    // The durable SWITCH record: from here on the target becomes this point, and nothing else.
    // Checks the target again first. Not while merging(). Errors: point_not_found (neither held nor
    // kept), target_unsafe, target_switching.
    Result<void> begin_switch(const PointId& wanted);
    // Returns, then copies, about `budget_bytes`; true when the target is complete and durable.
    // Idempotent.
    Result<bool> apply_some(std::uint64_t budget_bytes);

private:
    static constexpr std::uint64_t digest_bytes = 64 * kib;  // Of a block of digests().

    VolumeWriter(Options options, Context context)
        : options_(std::move(options)), context_(context) {}
    Result<void> start();
    Result<void> take_hold();
    Result<void> check_writable() const;
    Result<void> open_target();
    Result<void> replay();
    Result<void> undo_lost_merge();
    Result<void> note(const RedoEntry& entry);
    Result<bool> check_sequence(const pipeline::RecordHeader& header);
    Result<void> take_point(const pipeline::Record& record);
    Result<void> take_point_result(const pipeline::Record& record);
    void forget_decisions(VolumeState& state) const;
    Result<RedoEntry> append(const pipeline::Record& record);
    [[nodiscard]] HeldPoint held_by_merge(const pipeline::Point& point) const;
    Result<void> begin_merge(const HeldPoint& point);
    Result<void> end_merge();
    Result<void> give_up_history();
    Result<void> set_without_undo();
    Result<void> set_state(VolumeState after);
    Result<bool> return_some(std::uint64_t budget_bytes);
    Result<void> begin_copy();
    [[nodiscard]] std::string path(const char* name) const {
        return options_.work_directory + "/" + name;
    }

    const Options options_;
    Context context_;
    VolumeState state_;
    std::unique_ptr<TargetHold> hold_;  // Until the target is done; null for a device.
    std::unique_ptr<TargetIo> target_;  // Opened for reading until the switch.
    std::unique_ptr<Overlay> overlay_;
    std::unique_ptr<RedoLog> log_;
    std::optional<PointHistory> history_;
    std::unique_ptr<PointMerge> merge_;
    std::vector<RedoEntry> pending_;  // In the log and not in the overlay.
    std::vector<bool> unsettled_;     // 64 KiB blocks that pending entries touch.
    Generation generation_{};
    Seq received_{}, durable_{};
    std::optional<Seq> fence_;
    std::uint32_t era_ = 0;               // Grows with each RESYNC_BEGIN that starts a generation.
    std::uint64_t applied_to_ = 0;        // Offset on the target.
    std::vector<std::uint64_t> to_undo_;  // Numbers of undo logs, the next one last.
    std::unique_ptr<UndoLog> undoing_;
    VolumeWork switch_work_;
    bool broken_ = false;
};

}  // namespace cw::volume
