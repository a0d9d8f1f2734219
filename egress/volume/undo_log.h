// UndoLog: what the merge of a point is about to overwrite in the overlay, so that the overlay can
// be taken back to the point it held before. One file per merge, written before the overlay is.
//
//   head, 4,096 bytes, written last: u32 CRC-32C of the rest, u32 magic "CWU1", u64 number, the
//   point it returns to, u64 bytes of the file, the point's kind, tag and group (zeros in files of
//   before points had those). Then batches: 4,096 bytes — u32 CRC-32C of the rest, u32 magic
//   "CWUB", u64 number, u64 own offset, u32 runs, u32 CRC-32C of the content, and per run u64 disk
//   offset, u32 length — then the content of the runs, one after the other.
//
// A file without a whole head was never finished: nothing was overwritten yet.
// Thread-safety: none.
#pragma once

#include "base/disk.h"
#include "egress/volume/volume_state.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::volume {

class UndoLog {
public:
    static constexpr std::size_t run_bytes_max = 1 * mib;
    struct Run {
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
    };
    struct Batch {
        std::vector<Run> runs;
        ByteVector content;  // Of all of them.
    };

    // Begins the file anew. Errors: io_error.
    static Result<std::unique_ptr<UndoLog>> create(Disk& disk, const std::string& path,
                                                   std::uint64_t number, const HeldPoint& point);
    // nullptr: not there, or never finished. Errors: io_error.
    static Result<std::unique_ptr<UndoLog>> open(Disk& disk, const std::string& path,
                                                 std::uint64_t number);

    [[nodiscard]] const HeldPoint& point() const noexcept { return point_; }
    // What a batch holds, without its content.
    struct Table {
        std::uint64_t at = 0;  // Where the batch lies in the file.
        std::vector<Run> runs;
    };
    // At most run_bytes_max. Errors: io_error, disk_full.
    Result<void> add(std::uint64_t offset, Bytes content);
    // Everything is on stable storage; from here on the overlay may be written.
    Result<void> finish();
    // The next batch from the start; false: there is none. Errors: record_corrupt, io_error.
    Result<bool> next(Batch& out);
    // The same without reading the content.
    Result<bool> next_table(Table& out);
    // The batch at Table::at. Errors: record_corrupt, io_error.
    Result<void> read_batch(std::uint64_t at, Batch& out);

private:
    UndoLog(Disk& disk, std::unique_ptr<File> file, std::uint64_t number)
        : disk_(disk), file_(std::move(file)), number_(number) {}
    Result<void> write_batch();
    struct Head {
        std::vector<Run> runs;
        std::size_t bytes = 0;  // Of the content.
        std::uint32_t crc = 0;
    };
    Result<Head> read_head(std::uint64_t at);
    [[nodiscard]] ByteVector head() const;

    Disk& disk_;
    std::unique_ptr<File> file_;
    const std::uint64_t number_;
    HeldPoint point_;
    Batch batch_;            // While writing.
    std::uint64_t end_ = 0;  // Of what was written, or of the file.
    std::uint64_t at_ = 0;   // Where reading goes on.
};

}  // namespace cw::volume
