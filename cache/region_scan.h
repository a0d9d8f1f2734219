// RegionScan: finds the batches of one region, reading headers and tables and skipping payload.
//
// A chain scan follows batch after batch and stops at the first block that is not the next header.
// A deep scan then tries every block, to find what lies behind damage. Every header found belongs
// to this spool, lies where it says and has the wanted epoch; tables are checked. What the device
// refuses to read is read again block by block, some times; what stays unreadable is noted and
// treated as holding no header. Asynchronous: many run at once (run_scans). Thread-safety: none.
#pragma once

#include "base/disk.h"
#include "cache/aligned_buffer.h"
#include "cache/careful_read.h"
#include "cache/spool_format.h"
#include "cache/spool_index.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace cw::cache {

struct FoundBatch {
    BatchHeader header;
    std::vector<bool> intact;  // Per record: nothing of it is known to be damaged.
    std::uint32_t region = 0;

    [[nodiscard]] std::uint64_t end() const noexcept {
        return header.offset + header.total_bytes();
    }
    // Where record `index` lies.
    [[nodiscard]] std::vector<Place> places() const;
};

// A record and where it lies.
struct RecoveredRecord {
    Lsn lsn{};
    RecordHeader header;
    Place place;
};

class RegionScan {
public:
    struct Target {
        Disk& disk;
        File& file;
        const Superblock& superblock;
    };
    // `epoch` 0: whatever the first header says (chain), or any (deep).
    struct Range {
        std::uint32_t region = 0;
        std::uint64_t from = 0;  // Offset in the file.
        std::uint64_t epoch = 0;
        bool deep = false;
    };
    RegionScan(Target target, Range range);
    RegionScan(const RegionScan&) = delete;
    RegionScan& operator=(const RegionScan&) = delete;

    void start();
    [[nodiscard]] bool finished() const noexcept { return finished_; }
    // After it finished:
    [[nodiscard]] std::uint32_t region() const noexcept { return range_.region; }
    [[nodiscard]] std::vector<FoundBatch>& found() noexcept { return found_; }
    [[nodiscard]] std::uint64_t epoch() const noexcept {
        return found_.empty() ? 0 : found_.front().header.epoch;
    }
    [[nodiscard]] std::uint64_t stopped_at() const noexcept { return at_; }
    // What could not be read, ascending.
    [[nodiscard]] const std::vector<Unreadable>& unreadable() const noexcept { return unreadable_; }

private:
    enum class Step : std::uint8_t { found, nothing, need_more };

    void on_read();
    // Reads block `block_` of the buffer on its own.
    void read_block();
    void on_block();
    void take_batches();
    void submit(std::uint64_t offset, MutableBytes into);
    void read_from(std::uint64_t offset, std::uint64_t wanted);
    // Tries to take the batch at at_, using `here`, the bytes read from there on.
    Step take_batch(Bytes here);
    [[nodiscard]] bool fits(const BatchHeader& header) const;
    void finish();

    Target target_;
    Range range_;
    std::uint64_t at_, end_;
    std::uint64_t last_number_ = 0;
    std::uint64_t needed_ = 0;  // By take_batch() when it says need_more.
    AlignedBuffer buffer_;
    std::uint64_t buffer_offset_ = 0;
    iovec part_{};
    DiskRequest request_;
    std::vector<FoundBatch> found_;
    std::vector<Unreadable> unreadable_;
    std::size_t block_ = 0, window_blocks_ = 0;
    unsigned tries_ = 0;
    bool block_by_block_ = false, finished_ = false;
};

// Runs them all, some at a time, pumping the disk.
void run_scans(Disk& disk, std::span<const std::unique_ptr<RegionScan>> scans);

}  // namespace cw::cache
