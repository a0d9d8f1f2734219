// Recovery: reads a spool file back into the state of a running spool.
//
// Trusts nothing but what it reads with O_DIRECT and can verify. Batches at or below the durable
// mark must be there: what is missing is damage, reported, and its neighbours are kept. Above it
// the longest unbroken, fully verified prefix is kept; it is written again and synced before
// anything is promised, because what the device's cache gave us may not be on the platter yet. The
// rest is a torn tail. Idempotent: may be cut short anywhere and run again; it allocates nothing.
#pragma once

#include "cache/loss_analysis.h"
#include "cache/region_table.h"

#include <string>
#include <vector>

namespace cw::cache {

struct Recovered {
    explicit Recovered(RegionTable table) : regions(std::move(table)) {}
    RegionTable regions;                   // All free or sealed.
    std::vector<RecoveredRecord> records;  // Live, ascending by LSN, each LSN once.
    std::map<StreamKey, StreamView> streams;
    std::vector<DamagedRange> damaged;
    std::uint64_t durable_through = 0;  // Batch number; also the last one kept.
    std::uint64_t epoch = 0;            // Highest given out.
    std::uint64_t checkpoint_generation = 0;
    Lsn next_lsn{1};
    std::uint64_t torn_batches = 0;  // Dropped above the durable mark; for the log.
    bool rebuilt = false;            // No checkpoint was readable.
};

// Errors: io_error (the tail could not be written again or synced), format_unsupported.
Result<Recovered> recover(Disk& disk, File& file, const Superblock& superblock);

}  // namespace cw::cache
