// UndoIndex: where a disk's content at one earlier point lies in the undo logs of the merges since.
// Of several logs that hold a block the oldest counts: it saw the block first after the point.
// Thread-safety: none.
#pragma once

#include "egress/volume/undo_log.h"

#include <list>
#include <map>
#include <string>
#include <vector>

namespace cw::volume {

class UndoIndex {
public:
    UndoIndex(Disk& disk, std::string work_directory, std::uint64_t disk_bytes,
              std::uint64_t memory_bytes)
        : disk_(disk),
          directory_(std::move(work_directory)),
          disk_bytes_(disk_bytes),
          memory_bytes_(memory_bytes) {}

    // The log of the merge after those that were added, from its start. Errors: record_corrupt,
    // io_error, out_of_budget.
    Result<void> add(UndoLog& log, std::uint64_t number);

    // Content, or (`held` false) a range that no log holds.
    struct Piece {
        std::uint64_t offset = 0, length = 0;
        bool held = false;
    };
    // The pieces of a range of the disk, in order, without gaps.
    [[nodiscard]] std::vector<Piece> pieces(std::uint64_t offset, std::uint64_t length) const;
    // A held piece. Errors: record_corrupt, io_error, point_not_found (the log is gone).
    Result<void> read(std::uint64_t offset, MutableBytes out);

private:
    struct Span {
        std::uint64_t end = 0;
        std::uint64_t log = 0, batch = 0;  // Number of the log, place of the batch in it.
        std::uint64_t position = 0;        // Of the span's begin, in the batch's content.
    };
    struct Cached {
        std::uint64_t log = 0, batch = 0;
        ByteVector content;
    };
    Result<void> insert(std::uint64_t begin, Span span);
    Result<const ByteVector*> batch_of(const Span& span);

    Disk& disk_;
    const std::string directory_;
    const std::uint64_t disk_bytes_, memory_bytes_;
    std::map<std::uint64_t, Span> spans_;  // By begin; disjoint.
    std::list<Cached> recent_;             // Newest first.
};

}  // namespace cw::volume
