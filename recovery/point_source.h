// PointSource: where the bytes of a catalog's points are: in the segments of a vault, or in what a
// master target has collected. Who restores, compares or serves a point does not know which.
//
// Thread-safety: none. Lifetime: the source outlives what it opens.
#pragma once

#include "base/checksum.h"
#include "recovery/catalog.h"
#include "recovery/image.h"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace cw::recovery {

// A disk at a point of a catalog, which outlives it.
struct PointDisk {
    const vault::PointEntry* point = nullptr;
    DiskAtPoint disk;
};

// Fingerprints of the 64 KiB blocks of a disk at a point.
class PointDigests {
public:
    virtual ~PointDigests() = default;
    // nullopt: not known. Ask in ascending order; blocking. Errors: those of reading the source.
    virtual Result<std::optional<Fingerprint>> at(std::uint64_t block) = 0;
    // What was fetched from a vault for them.
    [[nodiscard]] virtual std::uint64_t fetched_bytes() const noexcept = 0;
};

class PointSource {
public:
    virtual ~PointSource() = default;
    // Errors: those of reading the source; point_not_found.
    virtual Result<std::unique_ptr<Image>> open(const PointDisk& at,
                                                const ReaderOptions& options) const = 0;
    // `cancelled` is asked often; may be empty. Errors: as open(), cancelled.
    virtual Result<std::unique_ptr<PointDigests>> digests(
        const PointDisk& at, const ReaderOptions& options,
        const std::function<bool()>& cancelled) const = 0;

    // `to`, and where it may differ from `from`: whole sectors, ascending, apart from each other.
    struct Changes {
        std::unique_ptr<Image> image;
        std::vector<ByteRange> ranges;
        std::uint64_t index_bytes = 0;  // Fetched from a vault to know them.
    };
    // Both are of one disk, of the same size. Errors: as open().
    virtual Result<Changes> changes(const PointDisk& from, const PointDisk& to,
                                    const ReaderOptions& options) const = 0;
};

// Of an image whose source keeps none: each block is read.
std::unique_ptr<PointDigests> digests_by_reading(std::unique_ptr<Image> image,
                                                 const FingerprintSecret& secret);

}  // namespace cw::recovery
