// Cleaner: reads the live records of one old region, so that they can be appended again and the
// region freed. Without it one slow machine could pin the whole log.
//
// Everything it hands out has been verified; what cannot be read or is damaged stays where it is.
// Thread-safety: none; the spool's thread and disk.
#pragma once

#include "cache/batch.h"

#include <deque>
#include <memory>
#include <optional>

namespace cw::cache {

class Cleaner {
public:
    Cleaner(RegionScan::Target target, SpoolIndex& index) : target_(target), index_(index) {}
    Cleaner(const Cleaner&) = delete;
    Cleaner& operator=(const Cleaner&) = delete;

    // Begins with a sealed region in its use `epoch`. Must not be active.
    void start(std::uint32_t region, std::uint64_t epoch);
    [[nodiscard]] bool active() const noexcept { return region_ != 0; }
    [[nodiscard]] std::uint32_t region() const noexcept { return region_; }
    // The next record to append, if one is read; starts reading another.
    std::optional<BatchItem> take();
    // True when nothing more will come out of take().
    [[nodiscard]] bool exhausted() const noexcept;
    [[nodiscard]] std::uint64_t unreadable() const noexcept { return unreadable_; }
    // Requests on the disk that still point into this object.
    [[nodiscard]] bool busy() const noexcept;
    void stop();

private:
    void list_live();
    void read_next();
    void start_read(DiskRequest& request, iovec& part, std::uint64_t offset, MutableBytes into);
    std::optional<BatchItem> finish_read();

    RegionScan::Target target_;
    SpoolIndex& index_;
    std::uint32_t region_ = 0;  // 0: not active.
    std::unique_ptr<RegionScan> scan_;
    std::deque<RecoveredRecord> todo_;
    // The record being read.
    std::optional<RecoveredRecord> reading_;
    AlignedBuffer buffer_;
    std::array<DiskRequest, 2> requests_;
    std::array<iovec, 2> parts_{};
    unsigned reads_open_ = 0;
    std::uint64_t unreadable_ = 0;
};

}  // namespace cw::cache
