// RedoLog: the records since the point the overlay holds, in order of arrival. Emptied (by a new
// log number, without truncation) each time they have been merged into the overlay.
//
//   entry: 4,096-byte head — u32 CRC-32C of the rest, u32 magic "CWR1", u64 log number, u64 own
//   offset, u32 CRC of the head before it (a stale entry that happens to lie at the right place
//   does not continue a new one), u8 record type, u64 generation, u64 sequence, u32 count, u32
//   ordinal, u64 aux, u32 table bytes, u32 data bytes, u32 CRC-32C of table and data — then table,
//   then data.
//
// A torn tail ends the log at recovery; what it loses was never reported durable, or is damage, and
// then the agent, whose dirty maps reach back to the committed point, catches up.
// Thread-safety: none.
#pragma once

#include "base/disk.h"
#include "pipeline/extent_table.h"
#include "pipeline/record.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::volume {

struct RedoEntry {
    pipeline::RecordHeader header;
    std::uint64_t offset = 0;  // Of its head in the log.
    std::uint32_t era = 0;     // Set by the writer: which generation's run of sequences.
};

class RedoLog {
public:
    static Result<std::unique_ptr<RedoLog>> open(Disk& disk, const std::string& path,
                                                 std::uint64_t number);

    // Entries of this log number from the start, until the first that is not whole.
    Result<std::vector<RedoEntry>> recover();
    // Errors: io_error, disk_full.
    Result<RedoEntry> append(const pipeline::Record& record);
    Result<void> sync() { return sync_file(disk_, *file_); }
    // Errors: record_corrupt.
    Result<ByteVector> table(const RedoEntry& entry);
    Result<ByteVector> data(const RedoEntry& entry, std::uint32_t position, std::uint32_t length);
    // Everything in it is settled elsewhere: the next entry starts over, under `number`.
    void restart(std::uint64_t number) noexcept {
        number_ = number;
        end_ = 0;
        last_head_crc_ = 0;
    }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return end_; }

private:
    RedoLog(Disk& disk, std::unique_ptr<File> file, std::uint64_t number)
        : disk_(disk), file_(std::move(file)), number_(number) {}
    Result<std::optional<RedoEntry>> read_entry(std::uint64_t offset);
    Result<std::uint32_t> payload_crc(const RedoEntry& entry);

    Disk& disk_;
    std::unique_ptr<File> file_;
    std::uint64_t number_;
    std::uint64_t end_ = 0;
    std::uint32_t last_head_crc_ = 0;
};

}  // namespace cw::volume
