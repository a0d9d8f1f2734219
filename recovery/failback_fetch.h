// FailbackFetch: what a failback asks the vault for: fingerprints of blocks, ranges of a large disk
// at a time, and the content of blocks, many super-chunks at once.
#pragma once

#include "recovery/block_digests.h"
#include "recovery/failback_records.h"
#include "recovery/image_reader.h"

#include <deque>
#include <memory>
#include <optional>

namespace cw::recovery {

// `cancelled` is asked while indexes are read. Blocking where it says so, else driven by poll().
// Thread-safety: none. Store and catalog outlive it; destruction waits for what is in flight.
class FailbackFetch {
public:
    FailbackFetch(blob::BlobStore& store, const Catalog& catalog, const DiskAtPoint& disk,
                  const ReaderOptions& options, std::function<bool()> cancelled);

    // nullopt: the vault does not know. Ask in ascending order. Blocks while it reads the indexes
    // for the next range. Errors: those of BlockDigests::read().
    Result<std::optional<Fingerprint>> digest(std::uint64_t block);

    // Another super-chunk may be started.
    [[nodiscard]] bool has_room() const noexcept;
    [[nodiscard]] bool idle() const noexcept { return windows_.empty(); }
    // Begins to fill `blocks`. The first time it blocks while the disk's map is read.
    // Errors: those of ImageReader::open().
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

    const Catalog& catalog_;
    blob::BlobStore& store_;
    DiskAtPoint disk_;
    ReaderOptions options_;
    std::function<bool()> cancelled_;
    std::optional<BlockDigests> digests_;
    std::deque<Window> windows_;  // In ascending order.
    FailbackBlocks arrived_;
    std::uint64_t buffered_ = 0;
    Fetcher index_fetcher_;
    std::uint64_t map_bytes_ = 0;
    std::unique_ptr<ImageReader> reader_;  // Last: it fills the windows.
};

}  // namespace cw::recovery
