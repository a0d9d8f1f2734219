// Writes an image as a fixed VHD in a page blob: what Azure attaches or imports as a disk. Holes
// are skipped (a new page blob is all zeros), the footer comes last and says that all before it is
// whole, and every write names the sequence number that the blob was created with, so that a writer
// that was left behind cannot touch what a later one makes.
#pragma once

#include "base/clock.h"
#include "egress/blob/page_blob.h"
#include "recovery/image_writer.h"

namespace cw::recovery {

struct PageBlobOptions {
    blob::PageBlobName blob;
    bool force = false;     // Replace an existing blob.
    bool existing = false;  // A managed disk: `force` and `sequence` do not count.
    std::uint64_t sequence = 0;
    std::array<std::byte, 16> image_id{};
    WallMicros created{};
    std::size_t writes_in_flight = 4;
    std::function<bool()> cancelled = {};  // Asked often; true ends the work.
};

// Blocking. What the store refuses for a while, throttling above all, is tried again for about ten
// minutes: whoever gave up sooner would have to begin anew. Errors: those of reading; file_exists;
// target_unsafe (a managed disk of another size); those of the store after that; cancelled.
Result<WriteReport> write_page_blob(Image& image, blob::PageBlobStore& store, Clock& clock,
                                    const PageBlobOptions& options, const Progress& progress);

}  // namespace cw::recovery
