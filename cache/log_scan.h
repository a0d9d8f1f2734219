// LogScan: the batches of the whole file that belong to its present, by number.
//
// The checkpoint's region table says which region must hold which batches; stale content of earlier
// uses is left out, suspicious regions are searched block by block.
#pragma once

#include "cache/region_scan.h"

#include <map>
#include <optional>
#include <string>

namespace cw::cache {

// An inclusive run of batch numbers.
struct BatchRun {
    std::uint64_t first = 0, last = 0;
};

struct UnreadablePlace {
    std::uint32_t region = 0;
    Unreadable place;
};
std::string to_string(const UnreadablePlace& what);

class LogScan {
public:
    // `checkpoint` may be null: then every region is searched and nothing is known to be required.
    LogScan(RegionScan::Target target, const Checkpoint* checkpoint)
        : target_(target), checkpoint_(checkpoint), states_(target.superblock.region_count()) {}

    void run();

    // After run(). Every batch of the present, ascending by number, also beyond a torn one.
    [[nodiscard]] const std::map<std::uint64_t, FoundBatch>& batches() const { return batches_; }
    // Highest mark that the checkpoint or any batch vouches for.
    [[nodiscard]] std::uint64_t durable_through() const noexcept { return durable_through_; }
    // Batches at or below the mark that should be there and are not.
    [[nodiscard]] std::vector<BatchRun> missing() const;
    // The batch of that number, or nullptr.
    [[nodiscard]] FoundBatch* find(std::uint64_t number);
    // A place that cannot be read where the batch behind `last` may lie, for all that is known.
    [[nodiscard]] std::optional<UnreadablePlace> unreadable_behind(std::uint64_t last) const;
    // All of them, in regions that are in use, save those inside batches that were found.
    [[nodiscard]] const std::vector<UnreadablePlace>& unreadable() const { return unreadable_; }
    // Drops what lies above the torn end of the log. Returns how many.
    std::uint64_t drop_above(std::uint64_t last_kept);
    // The regions' entries to go on with, given the batches that are left.
    [[nodiscard]] std::vector<RegionEntry> entries(std::uint64_t last_kept) const;
    [[nodiscard]] std::uint64_t highest_epoch() const noexcept { return highest_epoch_; }
    [[nodiscard]] Lsn highest_lsn() const noexcept { return highest_lsn_; }

private:
    struct State {
        std::uint64_t epoch = 0;       // Of the content that counts; 0: none.
        std::uint64_t stopped_at = 0;  // Where the chain ended.
        bool recycled = false;         // Its content is newer than the checkpoint.
        std::vector<Unreadable> unreadable;
    };

    [[nodiscard]] RegionEntry known(std::uint32_t region) const;
    void scan_chains();
    void take_chain(RegionScan& scan);
    void search(const std::vector<RegionScan::Range>& ranges);
    [[nodiscard]] std::vector<RegionScan::Range> unsealed_rests() const;
    [[nodiscard]] std::vector<RegionScan::Range> holed_regions() const;
    void keep(FoundBatch batch);
    void note(const RegionScan& scan);
    void collect_unreadable();
    [[nodiscard]] std::uint64_t frontier(std::uint32_t region, std::uint64_t last) const;
    // The rest of a header that would be batch `number` cannot be read.
    [[nodiscard]] bool header_begins(std::uint32_t region, std::uint64_t at,
                                     std::uint64_t number) const;
    void update_mark();
    // First batch after the last sealed region that must be there; nothing when unknown.
    [[nodiscard]] std::optional<std::uint64_t> tail_start() const;
    void add_missing(std::uint64_t first, std::uint64_t last, std::vector<BatchRun>& out) const;

    RegionScan::Target target_;
    const Checkpoint* checkpoint_;
    std::vector<State> states_;
    std::map<std::uint64_t, FoundBatch> batches_;
    std::vector<UnreadablePlace> unreadable_;
    std::uint64_t durable_through_ = 0, highest_epoch_ = 0;
    Lsn highest_lsn_{};
};

}  // namespace cw::cache
