// Writes an image as a fixed VHD in a page blob: what Azure attaches or imports as a disk. Holes
// are skipped (a new page blob is all zeros), the footer comes last and says that all before it is
// whole, and every write names the sequence number that the blob was created with, so that a writer
// that was left behind cannot touch what a later one makes.
#pragma once

#include "recovery/image_writer.h"
#include "recovery/page_requests.h"

namespace cw::recovery {

struct PageBlobOptions {
    blob::PageBlobName blob;
    bool force = false;     // Replace an existing blob.
    bool existing = false;  // A managed disk: `force` and `sequence` do not count.
    bool verify = false;    // Read everything back and compare.
    std::uint64_t sequence = 0;
    std::array<std::byte, 16> image_id{};
    WallMicros created{};
    std::size_t writes_in_flight = 4;
    PageRetry retry = {};
    std::function<bool()> cancelled = {};  // Asked often; true ends the work.
    std::function<void(const Error& last, std::int64_t ns)> trouble = {};  // As PageRequestOptions.
};

struct PageBlobReport {
    WriteReport written;
    // Why the service did not let it be listed, or samples of it be read back (an upload SAS need
    // not allow that). Without: it has what was written where it was written, and the samples are
    // right.
    std::optional<Error> unproven;
};

struct PageBlobSeams {
    blob::PageBlobStore& store;
    Clock& clock;
    Random& random;
};

// Blocking; `progress` is told of where it is also while the service takes nothing; with `verify`
// its total is twice the disk. Errors: those of reading; file_exists; target_unsafe (a managed disk
// of another size); blob_denied (`verify` with a SAS that does not read); restore_mismatch; those
// of the store, of which the passing ones only after the patience of `retry`; cancelled.
Result<PageBlobReport> write_page_blob(Image& image, const PageBlobSeams& seams,
                                       const PageBlobOptions& options, const Progress& progress);

}  // namespace cw::recovery
