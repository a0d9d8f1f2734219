// What a page blob holds, as the service itself tells: where something stands before an upload, and
// whether what was uploaded is there after it.
//
// Thread-safety: none; belongs to the thread of the requests.
#pragma once

#include "base/ids.h"
#include "recovery/image.h"
#include "recovery/page_requests.h"

namespace cw::recovery {

struct PagePlace {
    blob::PageBlobStore& store;
    PageRequests& requests;
    const blob::PageBlobName& blob;
    std::uint64_t bytes = 0;  // Of the blob.
};

// Where something was written and not cleared since, asked for piece by piece: of a large disk the
// whole list may be long.
class PageMap {
public:
    explicit PageMap(const PagePlace& place) : place_(place) {}
    // The part of the range that everything in it lies in; a length of 0: nothing does. The range
    // lies within one span of page_span_bytes_max. Errors: those of the store, cancelled.
    Result<ByteRange> occupied(std::uint64_t offset, std::uint64_t length);
    // All there is in the span that begins there.
    Result<const std::vector<blob::PageRange>*> span(std::uint64_t begin);

private:
    const PagePlace& place_;
    std::optional<std::uint64_t> begin_;  // Of the span that is known.
    std::vector<blob::PageRange> ranges_;
};

// Remembers what is written, so that it can be asked for afterwards.
class PageProof {
public:
    PageProof(const PagePlace& place, Random& random) : place_(place), random_(random) {}
    // Ascending, apart or adjacent; at most page_write_bytes_max. Keeps some 16 bytes per run.
    void wrote(std::uint64_t offset, Bytes bytes);

    // That there is something wherever it was written, and zeros elsewhere.
    // Errors: restore_mismatch; those of the store, cancelled.
    Result<void> check_ranges();
    // Reads some of the writes back, chosen at random. Errors: as above.
    Result<void> check_samples();
    // Reads all of `image`'s bytes back, after check_ranges(): of holes nothing is read. `at`
    // follows. Errors: as above, and those of reading.
    Result<void> check_all(Image& image, const std::function<void(std::uint64_t at, Bytes)>& seen);

private:
    struct Sample {
        std::uint64_t offset = 0, length = 0, crc64 = 0;
    };
    Result<ByteVector> read(std::uint64_t offset, std::uint64_t length);
    Result<void> check_span(PageMap& map, std::uint64_t begin, std::uint64_t end);
    Result<void> check_zero(std::uint64_t offset, std::uint64_t end);
    [[nodiscard]] std::unexpected<Error> differs(std::uint64_t at, const char* how) const;

    static constexpr std::size_t samples_max = 8;
    const PagePlace& place_;
    Random& random_;
    std::vector<ByteRange> written_;  // Neighbours are one.
    std::vector<Sample> samples_;     // Each write is as likely to be among them as any other.
    std::uint64_t writes_ = 0;
};

}  // namespace cw::recovery
