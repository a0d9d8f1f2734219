// HrlFile: a replica log that has its name only when it is whole. Until publish() it is a part
// beside it, which goes with the object.
// Thread-safety: none. Lifetime: the disk outlives it.
#pragma once

#include "agent/hrl/hrl_writer.h"
#include "base/clock.h"

#include <optional>

namespace cw::agent {

// A moment as replica logs have it; one before or beyond their time is their first or last.
std::uint32_t hrl_seconds(WallMicros time) noexcept;

class HrlFile {
public:
    // `part` is replaced if it is there: what a kill has left. Errors: io_error.
    static Result<HrlFile> begin(Disk& disk, std::string part, const HrlHeader& header,
                                 WallMicros now);
    ~HrlFile();
    HrlFile(HrlFile&& other) noexcept;
    HrlFile& operator=(HrlFile&&) = delete;

    // Whole sectors, any length. Errors: io_error.
    Result<void> write(std::uint64_t offset, Bytes data, WallMicros now);
    // The part is durable and complete, as a log that was last changed at `modified`.
    Result<void> close(WallMicros modified);
    // After close(). Errors: file_exists, io_error.
    Result<void> publish(const std::string& path);
    // The part stays, whatever becomes of this: its owner knows how to go on.
    void keep() noexcept { part_.clear(); }
    [[nodiscard]] std::uint64_t entries() const noexcept { return writer_->entries(); }
    [[nodiscard]] std::uint64_t data_bytes() const noexcept { return data_bytes_; }

private:
    HrlFile(Disk& disk, std::string part) : disk_(disk), part_(std::move(part)) {}

    Disk& disk_;
    std::string part_;  // Empty: it has its name.
    std::optional<HrlWriter> writer_;
    std::uint64_t data_bytes_ = 0;
};

}  // namespace cw::agent
