// HrlReader: one replica log from its first write to its last. Nothing of it is believed: where
// blocks and data lie is checked when it is opened, what is written when it is read.
// Thread-safety: none.
#pragma once

#include "agent/hrl/hrl_format.h"
#include "base/disk.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class HrlReader {
public:
    static constexpr std::size_t piece_bytes_max = 1024 * 1024;

    // `strict`: the header's checksum must match. Errors: hrl_broken; in_use: it is still being
    // written; not_found, io_error.
    static Result<HrlReader> open(Disk& disk, const std::string& path, bool strict);

    [[nodiscard]] const HrlHeader& header() const noexcept { return header_; }
    struct Piece {
        std::uint64_t offset = 0;  // On the virtual disk of `disk_bytes`.
        Bytes data;                // Valid until the next call.
    };
    // The next of the writes, in pieces of at most 1 MiB; nullopt after the last. A write's
    // checksum is known to match only when its last piece is out: read everything before using any
    // of it. Errors: hrl_broken (checksum, beyond `disk_bytes`, not whole sectors), io_error.
    Result<std::optional<Piece>> next(std::uint64_t disk_bytes);
    void rewind() noexcept;

private:
    HrlReader(Disk& disk, std::unique_ptr<File> file) : disk_(&disk), file_(std::move(file)) {}
    Result<ByteVector> read(std::uint64_t at, std::size_t length);
    Result<void> walk();
    Result<bool> next_entry(std::uint64_t disk_bytes);

    Disk* disk_;
    std::unique_ptr<File> file_;
    HrlHeader header_;
    std::vector<std::uint64_t> blocks_;  // Where they lie, first to last.
    ByteVector buffer_;
    // Where next() is.
    std::size_t block_ = 0, entry_ = 0;
    HrlBlock current_;
    HrlEntry writing_;
    std::uint64_t data_at_ = 0;
    std::uint32_t left_ = 0, sum_ = 0;
};

}  // namespace cw::agent
