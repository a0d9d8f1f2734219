// The part of verify that reads segments: indexes always, chunks as deep as asked. Private to the
// recovery room.
#pragma once

#include "recovery/verify.h"

#include <map>
#include <memory>

namespace cw::recovery {

class SegmentAudit {
public:
    SegmentAudit(blob::BlobStore& store, const Catalog& catalog, const VerifyOptions& options,
                 Random& random);

    // Checks every live segment of the machine.
    void run(const VerifyProgress& progress);
    [[nodiscard]] const std::map<vault::SegmentName, Finding>& bad() const noexcept { return bad_; }
    [[nodiscard]] std::uint64_t chunks_checked() const noexcept { return chunks_; }
    [[nodiscard]] std::uint64_t bytes_fetched() const noexcept { return fetcher_.bytes_fetched(); }

private:
    // A segment being checked; shared by the callbacks of its ranges.
    struct Check {
        OpenSegment segment;
        std::size_t ranges = 0;  // Still on their way.
        bool failed = false;
    };
    // Neighbouring chunks, by their place in OpenSegment::chunks: [first, last].
    struct Run {
        std::size_t first = 0;
        std::size_t last = 0;
    };
    void begin(const vault::SegmentRef& ref);
    void check_chunks(OpenSegment segment);
    std::vector<Run> choose(const OpenSegment& segment);
    void fetch_run(const std::shared_ptr<Check>& check, Run run);
    Result<void> open_run(const OpenSegment& segment, Run run, Bytes bytes);
    void blame(const vault::SegmentName& name, Error error);
    void segment_done() { --in_flight_, ++done_; }

    const Catalog& catalog_;
    VerifyOptions options_;
    Random& random_;
    std::map<vault::SegmentName, Finding> bad_;
    ByteVector scratch_;
    std::uint64_t chunks_ = 0;
    std::uint64_t done_ = 0;
    std::size_t in_flight_ = 0;  // Segments.
    Fetcher fetcher_;            // Last: its destructor ends the callbacks that use the rest.
};

}  // namespace cw::recovery
