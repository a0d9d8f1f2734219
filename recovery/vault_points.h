// VaultPoints: the points of a vault, read from its segments and their indexes.
#pragma once

#include "recovery/point_source.h"

namespace cw::recovery {

class VaultPoints final : public PointSource {
public:
    // Both outlive it, and what it opens.
    VaultPoints(blob::BlobStore& store, const Catalog& catalog)
        : store_(store), catalog_(catalog) {}

    // Errors: those of ImageReader::open().
    Result<std::unique_ptr<Image>> open(const PointDisk& at,
                                        const ReaderOptions& options) const override;
    // From indexes alone: no chunk is downloaded. Errors: those of BlockDigests::read().
    Result<std::unique_ptr<PointDigests>> digests(
        const PointDisk& at, const ReaderOptions& options,
        const std::function<bool()>& cancelled) const override;
    // The maps of both tell: where they show the same chunk, or both know zeros, nothing differs.
    // What is left may be bytes that were written again as they were.
    Result<Changes> changes(const PointDisk& from, const PointDisk& to,
                            const ReaderOptions& options) const override;

private:
    blob::BlobStore& store_;
    const Catalog& catalog_;
};

}  // namespace cw::recovery
