// Failback: an old disk becomes what a machine's disk was at a recovery point, and only what
// differs travels.
//
//   source ─ fingerprints ─┐
//   target ─ fingerprints ─┴→ differing or unknown blocks ← Image → VolumeWriter → target
//
// The source is a vault, which knows fingerprints without reading, or what a master target has
// collected, which is read for them.
//
// With a hint only what it names is read of the target and compared, and a sample of the rest. What
// the vault has of the rest must be the same at the hint's point: else everything is compared.
//
// Until the durable SWITCH the target is only read: an error, a cancel or a kill leaves it as it
// was, and the next run begins anew, because the target may have changed in between. After it the
// next run completes the switch before anything else, without the vault.
// Blocking; one failback per work directory at a time (the caller's lock).
#pragma once

#include "base/disk.h"
#include "egress/volume/volume_writer.h"
#include "recovery/failback_hint.h"
#include "recovery/image_writer.h"
#include "recovery/point_source.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace cw::recovery {

struct FailbackTarget {
    std::string path;               // Image file or block device, of exactly the disk's size.
    std::string work_directory;     // Not on the target; holds what differs until it is applied.
    std::string expected_identity;  // TargetProbe::identity(); empty: not checked.
};

struct FailbackRequest {
    std::string point = "latest";  // As Catalog::find_point().
    std::string disk;              // As Catalog::find_disk(); empty: the only one.
    FailbackTarget target;
    ReaderOptions reader;
    std::function<bool()> cancelled;  // Asked often, until the switch. May be empty.
    // What may differ; absent: everything. See FailbackHint.
    std::optional<std::vector<ByteRange>> hint;
    // With a hint: the point as which the target was left, as Catalog::find_point(). A block that
    // the hint leaves out and the vault knows as another one at `point` refutes the hint; one of
    // which the vault cannot tell is compared. Empty: the hint is only sampled.
    std::string hint_since;
    Random* random = nullptr;  // With a hint: picks the sample. Outlives the call.
};

struct FailbackReport {
    PointId point;  // What the target is now.
    DiskId disk;
    Seq cut{};
    WallMicros point_time{};
    bool resumed = false;  // An interrupted switch was completed; nothing was compared.
    std::uint64_t disk_bytes = 0;
    std::uint64_t blocks_compared = 0;  // By fingerprint.
    std::uint64_t blocks_unknown = 0;   // The vault has no fingerprint: fetched, then compared.
    std::uint64_t blocks_different = 0;
    std::uint64_t blocks_skipped = 0;  // The hint said that they do not differ.
    std::uint64_t blocks_sampled = 0;  // Of those, compared all the same.
    bool hint_refuted = false;         // It left out one that differs: everything was compared.
    std::uint64_t moved_bytes = 0;     // Of the disk: what was written to the target.
    // From the vault, as stored (compressed and sealed): every chunk of at most 1 MiB that holds a
    // wanted block, whole, because a chunk is the unit that can be authenticated and decompressed;
    // and what lies between two that were fetched as one range, at most 64 KiB each time. So blocks
    // that lie together cost what they are, and one that lies alone costs its chunk.
    std::uint64_t fetched_bytes = 0;
    std::uint64_t index_bytes = 0;  // From the vault: fingerprints and maps.
};

struct FailbackContext {
    Disk& disk;
    volume::TargetProbe& probe;
};

// The phase of a work directory: what resume and cancel would find. nullopt: nothing there.
// Errors: record_corrupt, io_error.
Result<std::optional<volume::Phase>> failback_phase(Disk& disk, const std::string& work_directory);

// Errors: cancelled (the target is as it was); point_not_found, not_found, usage; target_unsafe;
// those of the source and of VolumeWriter.
Result<FailbackReport> failback_disk(const PointSource& source, const Catalog& catalog,
                                     FailbackContext context, const FailbackRequest& request,
                                     const Progress& progress);

// The same in two steps, so that of several disks none is switched before all could be: what
// differs is collected, and the target was only read. What a destroyed one has collected is dropped
// by the next run. Lifetime: everything that it was made of outlives it.
class CollectedFailback {
public:
    virtual ~CollectedFailback() = default;
    // What the target is when it is completed.
    [[nodiscard]] virtual const FailbackReport& report() const noexcept = 0;
    // The target becomes the point, once. Errors: cancelled (it is as it was); those of
    // VolumeWriter.
    virtual Result<void> complete() = 0;
    // Instead: forgets what was collected; the target is as it was.
    virtual Result<void> drop() = 0;
};
// Errors: those of failback_disk(); target_switching (resume_failback() comes first).
Result<std::unique_ptr<CollectedFailback>> collect_failback(const PointSource& source,
                                                            const Catalog& catalog,
                                                            FailbackContext context,
                                                            const FailbackRequest& request,
                                                            const Progress& progress);
// Completes a switch that was interrupted; needs no vault. The phase is `switching`.
Result<FailbackReport> resume_failback(FailbackContext context, const FailbackTarget& target);
// Drops what a killed failback has collected; its target is as it was. False: there was nothing.
// Errors: target_switching (too late), record_corrupt, io_error.
Result<bool> cancel_failback(Disk& disk, const std::string& work_directory);

}  // namespace cw::recovery
