// HrlWriter: makes a replica log that continues another one. Until close() it says of itself that
// it is not complete. Thread-safety: none.
#pragma once

#include "agent/hrl/hrl_format.h"
#include "base/disk.h"
#include "base/ids.h"

#include <memory>
#include <string>

namespace cw::agent {

class HrlWriter {
public:
    // `now_s`: since 2000-01-01 UTC. Errors: file_exists, io_error.
    static Result<HrlWriter> create(Disk& disk, const std::string& path, const HrlHeader& header,
                                    std::uint32_t now_s);
    // Whole sectors, at most 1 MiB. Errors: io_error.
    Result<void> write(std::uint64_t offset, Bytes data, std::uint32_t now_s);
    // Durable when it returns.
    Result<void> close(std::uint32_t now_s);
    [[nodiscard]] std::uint64_t entries() const noexcept { return header_.entry_count; }

private:
    HrlWriter(Disk& disk, std::unique_ptr<File> file) : disk_(&disk), file_(std::move(file)) {}
    Result<void> put(std::uint64_t at, Bytes bytes) {
        return write_at(*disk_, *file_, at, bytes, false);
    }
    Result<void> put_block();

    Disk* disk_;
    std::unique_ptr<File> file_;
    HrlHeader header_;
    HrlBlock block_;
    std::uint64_t last_block_ = hrl_block_bytes, end_ = 2 * hrl_block_bytes;
};

}  // namespace cw::agent
