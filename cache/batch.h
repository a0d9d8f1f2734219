// Batch: one append on its way to the device: header blocks, tables, data, in one gathering write
// that completes only when it is on stable storage. Payload is not copied: the write takes the
// records' own tables and slabs.
#pragma once

#include "base/disk.h"
#include "cache/aligned_buffer.h"
#include "cache/region_scan.h"

#include <cstdint>
#include <vector>

namespace cw::cache {

// A record waiting to be written: a new one with its slabs, or one that is moved, in a buffer.
struct BatchItem {
    Lsn lsn{};  // A new one gets it when its batch is made.
    bool moved = false;
    pipeline::Record record;    // Moved: the header only.
    AlignedBuffer moved_bytes;  // Moved: table, then data.

    [[nodiscard]] std::uint64_t payload() const noexcept { return payload_bytes(record.header); }
    // Pieces of the gathering write it needs, at most.
    [[nodiscard]] unsigned parts() const noexcept;
};

class Batch {
public:
    static constexpr unsigned parts_max = 1024;  // IOV_MAX

    // `layout` comes without records; they are taken from `items`.
    Batch(BatchHeader layout, std::uint32_t region, std::vector<BatchItem> items);
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void start(Disk& disk, File& file, Nanos now);
    [[nodiscard]] bool done() const noexcept { return done_; }
    // After done(): whether all of it is on stable storage.
    [[nodiscard]] Result<void> result() const;
    [[nodiscard]] Nanos started() const noexcept { return started_; }
    [[nodiscard]] Nanos finished() const noexcept { return finished_; }
    void set_finished(Nanos now) noexcept { finished_ = now; }

    [[nodiscard]] const FoundBatch& layout() const noexcept { return layout_; }
    [[nodiscard]] std::uint64_t number() const noexcept { return layout_.header.number; }
    [[nodiscard]] std::uint32_t region() const noexcept { return layout_.region; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    // Lowest LSN among the moved records; 0: none.
    [[nodiscard]] std::uint64_t lowest_moved() const noexcept { return lowest_moved_; }
    [[nodiscard]] std::vector<BatchItem>& items() noexcept { return items_; }

private:
    void gather();
    void add_part(std::byte* data, std::size_t bytes);

    FoundBatch layout_;
    std::vector<BatchItem> items_;
    AlignedBuffer header_;
    std::vector<iovec> parts_;
    DiskRequest request_;
    std::uint64_t bytes_ = 0, lowest_moved_ = 0;
    Nanos started_{}, finished_{};
    bool done_ = false;
};

}  // namespace cw::cache
