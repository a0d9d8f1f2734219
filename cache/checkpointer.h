// Checkpointer: writes checkpoints into the two slots in turn, one at a time.
#pragma once

#include "base/disk.h"
#include "cache/aligned_buffer.h"
#include "cache/spool_format.h"

#include <functional>

namespace cw::cache {

class Checkpointer {
public:
    Checkpointer(Disk& disk, File& file, const Superblock& superblock, std::uint64_t generation)
        : disk_(disk), file_(file), superblock_(superblock), generation_(generation) {}
    Checkpointer(const Checkpointer&) = delete;
    Checkpointer& operator=(const Checkpointer&) = delete;

    // Starts writing; no other may be on its way. Fills in spool and generation. Errors:
    // out_of_budget (more streams than a slot holds).
    Result<void> start(Checkpoint checkpoint);
    [[nodiscard]] bool busy() const noexcept { return busy_; }
    // Once, after it became not busy: whether it is durable.
    Result<void> finish();

private:
    Disk& disk_;
    File& file_;
    Superblock superblock_;
    std::uint64_t generation_;
    AlignedBuffer buffer_;
    iovec part_{};
    DiskRequest request_;
    bool busy_ = false;
};

}  // namespace cw::cache
