// FailbackFetch: what a failback asks its source for: fingerprints of blocks, ranges of a large
// disk at a time, and the content of blocks, many super-chunks at once.
#pragma once

#include "recovery/failback_records.h"
#include "recovery/point_source.h"

#include <deque>
#include <memory>
#include <optional>

namespace cw::recovery {

// `cancelled` is asked while indexes are read. Blocking where it says so, else driven by poll().
// Thread-safety: none. The source outlives it; destruction waits for what is in flight.
class FailbackFetch {
public:
    FailbackFetch(const PointSource& source, PointDisk at, const ReaderOptions& options,
                  std::function<bool()> cancelled);

    // nullopt: the source does not know. Ask in ascending order. Blocks while it reads what tells.
    // Errors: those of PointSource::digests().
    Result<std::optional<Fingerprint>> digest(std::uint64_t block);

    // Another super-chunk may be started.
    [[nodiscard]] bool has_room() const noexcept;
    [[nodiscard]] bool idle() const noexcept { return windows_.empty(); }
    // Begins to fill `blocks`. The first time it blocks while the disk's map is read.
    // Errors: those of PointSource::open().
    Result<void> start(FailbackBlocks blocks);
    // The oldest, once complete; nullptr: not yet. With `wait`, waits a little when there is
    // nothing. Valid until the next call. Errors: those of reading.
    Result<FailbackBlocks*> poll(bool wait);

    [[nodiscard]] std::uint64_t index_bytes() const noexcept;
    [[nodiscard]] std::uint64_t chunk_bytes() const noexcept;

private:
    struct Window {
        FailbackBlocks blocks;
        std::optional<Result<void>> done;
    };

    const PointSource& source_;
    const PointDisk at_;
    const ReaderOptions options_;
    const std::function<bool()> cancelled_;
    std::unique_ptr<PointDigests> digests_;
    std::deque<Window> windows_;  // In ascending order.
    FailbackBlocks arrived_;
    std::uint64_t buffered_ = 0;
    std::uint64_t map_bytes_ = 0;
    std::unique_ptr<Image> image_;  // Last: it fills the windows.
};

}  // namespace cw::recovery
