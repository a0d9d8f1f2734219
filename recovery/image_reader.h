// ImageReader: any byte range of any disk at any point.
//
// Opening reads the indexes of the segments that the point can see; reading fetches ranges of
// objects in parallel, authenticates before it decompresses, and knows holes without reading.
// Unreadable is not corrupt: blob_unavailable stays what it is; object_corrupt and blob_not_found
// name the object and the points that need it.
//
// Thread-safety: none; belongs to the store's thread. Lifetime: store and catalog outlive it.
#pragma once

#include "recovery/catalog.h"
#include "recovery/fetcher.h"
#include "recovery/image.h"
#include "recovery/layer_map.h"
#include "recovery/segment_index.h"

#include <memory>
#include <vector>

namespace cw::recovery {

class ImageReader final : public Image {
public:
    // Errors: those of fetching; object_corrupt, key_unavailable, out_of_budget.
    static Result<std::unique_ptr<ImageReader>> open(blob::BlobStore& store, const Catalog& catalog,
                                                     const DiskAtPoint& disk,
                                                     const ReaderOptions& options);
    ~ImageReader() override;

    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return map_.disk_bytes(); }
    [[nodiscard]] std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                                              std::size_t count_max) const override;
    [[nodiscard]] const LayerMap& map() const noexcept { return map_; }
    // Of a chunk of the map: MappedChunk::segment. It is the catalog's.
    [[nodiscard]] const vault::SegmentRef& segment(std::uint32_t index) const {
        return *segments_.at(index).ref;
    }
    [[nodiscard]] const Fetcher& fetcher() const noexcept { return fetcher_; }
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override {
        return fetcher_.bytes_fetched();
    }
    [[nodiscard]] std::uint64_t requests() const noexcept override { return fetcher_.requests(); }

    void start(std::uint64_t offset, MutableBytes out, blob::Done<Result<void>> done) {
        start({{offset, out}}, std::move(done));
    }
    void read_later(const std::vector<Wanted>& wanted,
                    std::function<void(Result<void>)> done) override {
        start(wanted, std::move(done));
    }
    void start(const std::vector<Wanted>& wanted, blob::Done<Result<void>> done);
    std::size_t poll() override;
    void wait(std::int64_t timeout_ns) override;

private:
    struct Request;  // One start() on its way.
    struct Group;    // Neighbouring chunks of one object, fetched as one range.
    struct Part;     // A chunk and the places that a request wants parts of it in.

    ImageReader(blob::BlobStore& store, const Catalog& catalog, std::uint64_t disk_bytes,
                const ReaderOptions& options);
    Result<void> build(const vault::PointEntry::Cut& cut);
    Result<void> lay(OpenSegment segment, const Layer& layer);
    std::vector<Part> parts_of(const std::vector<Wanted>& wanted) const;
    void fetch_group(const std::shared_ptr<Request>& request, std::vector<Part> parts);
    Result<void> open_group(const std::vector<Part>& parts, Bytes bytes);

    struct SegmentInUse {
        const vault::SegmentRef* ref = nullptr;
        std::unique_ptr<vault::SegmentCrypto> crypto;
    };

    const Catalog& catalog_;
    ReaderOptions options_;
    LayerMap map_;
    std::vector<SegmentInUse> segments_;           // By MappedChunk::segment.
    std::vector<std::shared_ptr<Request>> ready_;  // Needed no fetch; finished by poll().
    std::unique_ptr<std::byte[]> scratch_;         // One decoded chunk, as large as any yet.
    std::size_t scratch_bytes_ = 0;
    Fetcher fetcher_;  // Last: its destructor ends the callbacks that use the rest.
};

}  // namespace cw::recovery
