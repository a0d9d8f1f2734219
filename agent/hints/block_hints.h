// BlockHints: dirty hints of a block device from the kernel's own tracepoints, block:block_rq_issue
// and block:block_rq_complete. Marked at both: when data lies on the disk its mark is there, and a
// write that is under way while marks are taken is marked again.
//
// Needs CAP_BPF and CAP_PERFMON, tracefs, and a device whose driver takes requests (blk-mq). Page
// cache and file system must have written what is to be seen: flush first. Thread-safety: as
// DirtyHints; the kernel marks at any moment.
#pragma once

#include "agent/hints/block_trace.h"
#include "agent/hints/dirty_hints.h"
#include "base/net.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cw::agent {

class BlockHints final : public DirtyHints {
public:
    // Marks from now on. Errors: not_found, io_error, with what is missing.
    static Result<std::unique_ptr<BlockHints>> open(const std::string& device_path);
    ~BlockHints() override;

    Taken take() override;
    [[nodiscard]] std::uint64_t region_bytes() const noexcept {
        return sector_bytes << device_.region_shift;
    }

private:
    BlockHints() = default;
    Result<void> map_memory();
    Result<void> attach(const std::string& tracepoint);

    WatchedDevice device_;
    Fd map_;
    std::vector<Fd> attached_;        // Programs and what they hang on.
    std::span<std::uint64_t> words_;  // The map: head, then regions.
};

// Which device the kernel's records name it by, and how finely it can be watched. Errors: as
// open().
Result<WatchedDevice> watched_device(const std::string& device_path);

}  // namespace cw::agent
