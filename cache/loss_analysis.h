// Loss analysis: from what recovery found, how far each stream reaches and what it has lost.
//
// A damaged batch takes its header with it, so what it held is inferred: sequences that are missing
// between what is held, where a lost batch may have lain by its LSNs. Records that were released
// look the same as lost ones then; settle_stream() tells them apart by what is committed.
// Pure functions.
#pragma once

#include "cache/region_scan.h"
#include "cache/spool.h"

#include <map>
#include <vector>

namespace cw::cache {

// Lost batches held only records with after < LSN < before.
struct LossWindow {
    Lsn after{}, before{};
};

struct LossInput {
    std::map<StreamKey, StreamView> streams;  // From the checkpoint.
    std::vector<RecoveredRecord> records;     // Held, ascending by LSN.
    std::vector<RecoveredRecord> damaged;     // Header known, payload lost; ascending by LSN.
    std::vector<LossWindow> windows;
};

struct LossReport {
    std::map<StreamKey, StreamView> streams;
    std::vector<DamagedRange> damaged;
};

// Moves RESYNC_END records to the damaged ones whose fence may have lost BASE: a fence that ended
// over a hole would make points of a disk that never was. Call it before analyse_losses().
void distrust_ended_fences(LossInput& input);

LossReport analyse_losses(const LossInput& input);

}  // namespace cw::cache
