// DirtyMap: which blocks of one disk are not yet committed in the vault.
//
// Kept as one set per interval between points, tagged with the interval's last sequence and dropped
// when `committed` reaches it; the union lies in a file that is written before the image is, so
// that an agent killed at any instruction can still name every block the vault may lack. The file
// is trusted after a kill of the process; after a power cut only if it was closed cleanly (the
// caller knows boot ids).
//
// What was missed is known more exactly as well, to 4 KiB, for as long as a bounded list has room
// (range_set.h): a fence then reads only that. The list is memory: after a kill the blocks count.
//
// Invariant: a block is in the file whenever any interval, the open fence or the missed set has it.
// Thread-safety: none; guarded by the disk's order lock.
#pragma once

#include "agent/scan/block_set.h"
#include "agent/stream/range_set.h"
#include "base/disk.h"

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace cw::agent {

class DirtyMap {
public:
    struct Target {
        std::string path;
        DiskId disk;
        std::uint64_t size_bytes = 0;  // Of the protected disk.
        // Of the exact list of what was missed; beneath an open fence there may be as many again.
        std::size_t ranges_max = 4096;
    };
    // Makes a new map in which every block is dirty: nothing is in the vault yet.
    static Result<DirtyMap> create(Disk& disk, Target target);
    // Errors: not_found; record_corrupt (damaged, or of another disk or size): continuity cannot be
    // proven, create() it anew.
    static Result<DirtyMap> open(Disk& disk, Target target);

    // Before the image is written: these blocks belong to the current interval. Errors: io_error;
    // then the image must not be written.
    Result<void> mark(std::uint64_t offset, std::uint64_t length);
    // Likewise, for a change that is not in the log: a later fence must read it.
    Result<void> mark_missed(std::uint64_t offset, std::uint64_t length);
    // Of what was missed only blocks are known, until a fence begins.
    void forget_ranges() noexcept { missed_ranges_.reset(); }
    Result<void> mark_all();

    // After open(): what was uncommitted is known to be in the log up to `last` (a clean stop).
    void assume_logged(Seq last);

    // What was logged is not sent any more: all of it counts as missed.
    void give_up_intervals();

    // The current interval ends with sequence `last`.
    void close_interval(Seq last);
    // Drops what the vault has. A committed sequence below one seen before changes nothing.
    Result<void> committed(Seq seq);

    // A fence opens: all missed blocks, and with `everything` all uncommitted ones, must be read.
    // They stay dirty until the fence's end is committed. Intervals are forgotten with
    // `everything`: their sequences may be used again.
    const BlockSet& begin_fence(bool everything);
    // RESYNC_END consumed `end`.
    void end_fence(Seq end);
    [[nodiscard]] const BlockSet& fence_blocks() const noexcept { return fence_; }
    [[nodiscard]] const BlockSet& missed() const noexcept { return missed_; }
    // The same exactly: none where only blocks are known.
    [[nodiscard]] const std::optional<RangeSet>& fence_ranges() const noexcept {
        return fence_ranges_;
    }
    [[nodiscard]] const std::optional<RangeSet>& missed_ranges() const noexcept {
        return missed_ranges_;
    }
    [[nodiscard]] std::uint64_t missed_bytes() const noexcept {
        return missed_ranges_ ? missed_ranges_->bytes() : missed_.bytes();
    }
    [[nodiscard]] const BlockSet& uncommitted() const noexcept { return all_; }

    // Everything handed to the kernel is on stable storage. For a clean stop.
    Result<void> sync();

private:
    struct Interval {
        Seq last{};
        BlockSet blocks;
    };
    DirtyMap(Disk& disk, Target target, std::unique_ptr<File> file)
        : disk_(&disk),
          target_(std::move(target)),
          file_(std::move(file)),
          fence_ranges_(no_ranges()),
          missed_ranges_(no_ranges()) {}

    [[nodiscard]] RangeSet no_ranges() const noexcept {
        return {target_.size_bytes, target_.ranges_max};
    }
    // What was missed is from now on what blocks say.
    void miss_blocks(const BlockSet& blocks);
    Result<void> add(BlockSet& set, std::uint64_t offset, std::uint64_t length);
    Result<void> write_header();
    Result<void> write_page(std::uint32_t page);
    Result<void> load();
    Result<void> load_page(std::uint32_t page, Bytes bytes);

    Disk* disk_;
    Target target_;
    std::unique_ptr<File> file_;
    BlockSet all_;  // What the file says, but for the pages that could not be written.
    std::set<std::uint32_t> unwritten_;
    BlockSet current_;  // Marked since the last close_interval().
    BlockSet fence_;
    BlockSet missed_;
    // Either covers exactly what its set covers in blocks, or is none.
    std::optional<RangeSet> fence_ranges_, missed_ranges_;
    std::deque<Interval> closed_;  // Oldest first, at most 64.
};

}  // namespace cw::agent
