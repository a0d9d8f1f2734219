// Index runs: immutable objects in `data` that hold what checkpoints would otherwise repeat: one
// entry per live segment and recovery point. A checkpoint names its runs, with the hash of each and
// a bit per entry that has died since, and repeats only what no run holds yet. So a manifest stays
// small however large the disks and however long the retention. Layout in FORMAT.md.
//
// A run is written before the checkpoint that names it first, by the owner of the epoch; ids only
// grow, so a run that the newest checkpoint does not name, of an older epoch or of an id up to its
// run_counter, is never named again.
#pragma once

#include "egress/vault/manifest.h"

namespace cw::vault {

// In `data`, as a segment of no disk would be named: generation 0, first sequence = the run's id.
SegmentName index_run_name(const MachineId& machine, const IndexRunRef& run);
// True for what index_run_name() makes.
bool is_index_run(const SegmentName& name);

struct SealedRun {
    ByteVector bytes;
    IndexRunRef ref;  // Finished: id, epoch and attempt are those given.
};
// `ref` gives id and epoch; the attempt is drawn here. At most index_run_bytes_max: asserted.
SealedRun seal_index_run(const IndexRun& run, IndexRunRef ref, const MachineKeys& keys,
                         Random& random);
// Errors: object_corrupt, format_unsupported.
Result<IndexRun> open_index_run(Bytes object, const IndexRunRef& ref, const MachineKeys& keys);

struct RunLimits {
    std::size_t inline_bytes = 512ULL << 10;  // Of entries that a checkpoint repeats itself.
    std::size_t run_bytes = 2ULL << 20;       // Of entries in one run.
    std::size_t runs_max = 4;                 // Written for one checkpoint.
};
// What the next checkpoint consists of. `fresh` are to be sealed with ids from run_counter on,
// stored, and their refs appended to manifest.runs in order; run_counter counts them already.
struct CheckpointPlan {
    Manifest manifest;
    std::vector<IndexRun> fresh;
};
// As make_checkpoint(); but when more than limits.inline_bytes would be repeated, that goes into
// fresh runs, together with what is left alive of runs that are less than half full.
CheckpointPlan plan_checkpoint(const ChainState& state, const RunLimits& limits = {});

}  // namespace cw::vault
