#include "egress/volume/point_changes.h"

#include "egress/volume/undo_log.h"

#include <algorithm>
#include <memory>

namespace cw::volume {
namespace {

Result<std::unique_ptr<UndoLog>> open_log(Disk& disk, const std::string& work_directory,
                                          std::uint64_t number) {
    return UndoLog::open(disk, work_directory + "/undo." + std::to_string(number), number);
}

// Of the undo log that returns to the point; the held one's will be written by the next merge.
Result<std::uint64_t> number_of(Disk& disk, const std::string& work_directory,
                                const VolumeState& state, const PointId& point) {
    if (state.point && state.point->id == point) {
        return state.log_number;
    }
    for (std::uint64_t number = state.log_number; number-- > 0;) {
        CW_TRY_ASSIGN(const auto log, open_log(disk, work_directory, number));
        if (!log) {
            break;
        }
        if (log->point().id == point) {
            return number;
        }
    }
    return fail(Errc::point_not_found, to_string(point));
}

// One bit per 4 KiB block.
Result<void> mark(UndoLog& log, std::uint64_t size_bytes, std::vector<bool>& blocks) {
    UndoLog::Table table;
    for (;;) {
        CW_TRY_ASSIGN(const bool more, log.next_table(table));
        if (!more) {
            return {};
        }
        for (const UndoLog::Run& run : table.runs) {
            if (run.offset > size_bytes || run.length > size_bytes - run.offset) {
                return fail(Errc::record_corrupt, "an undo log tells of more than the disk");
            }
            const std::uint64_t end = (run.offset + run.length + block_bytes - 1) / block_bytes;
            for (std::uint64_t block = run.offset / block_bytes; block < end; ++block) {
                blocks[block] = true;
            }
        }
    }
}

std::vector<ChangedRange> ranges_of(const std::vector<bool>& blocks, std::uint64_t size_bytes) {
    std::vector<ChangedRange> out;
    auto begin = std::ranges::find(blocks, true);
    while (begin != blocks.end()) {
        const auto end = std::find(begin, blocks.end(), false);
        const auto first = static_cast<std::uint64_t>(begin - blocks.begin()) * block_bytes;
        const auto last = static_cast<std::uint64_t>(end - blocks.begin()) * block_bytes;
        out.push_back({first, std::min(last, size_bytes) - first});
        begin = std::find(end, blocks.end(), true);
    }
    return out;
}

}  // namespace

Result<std::vector<ChangedRange>> changes_between(Disk& disk, const std::string& work_directory,
                                                  const PointId& one, const PointId& other) {
    CW_TRY_ASSIGN(const VolumeState state, read_volume_state(disk, work_directory + "/state"));
    CW_TRY_ASSIGN(const std::uint64_t a, number_of(disk, work_directory, state, one));
    CW_TRY_ASSIGN(const std::uint64_t b, number_of(disk, work_directory, state, other));
    std::vector<bool> blocks((state.size_bytes + block_bytes - 1) / block_bytes);
    for (std::uint64_t number = std::min(a, b); number < std::max(a, b); ++number) {
        CW_TRY_ASSIGN(const auto log, open_log(disk, work_directory, number));
        if (!log) {
            return fail(Errc::point_not_found, "undo log " + std::to_string(number) + " is gone");
        }
        CW_TRY(mark(*log, state.size_bytes, blocks));
    }
    return ranges_of(blocks, state.size_bytes);
}

}  // namespace cw::volume
