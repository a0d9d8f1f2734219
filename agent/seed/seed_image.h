// SeedImage: the image on a medium as a disk that is only read. With a manifest every part is
// compared with its hash before a byte of it is used, each read once if reading goes upwards.
// Thread-safety: none.
#pragma once

#include "agent/scan/block_image.h"
#include "agent/seed/seed_manifest.h"

#include <optional>

namespace cw::agent {

class SeedImage final : public BlockImage {
public:
    // Errors: size_mismatch (the image is not as large as the manifest's disk).
    static Result<std::unique_ptr<SeedImage>> open(std::unique_ptr<BlockImage> image,
                                                   std::optional<SeedManifest> manifest);

    std::uint64_t size() const noexcept override { return image_->size(); }
    // Errors: record_corrupt (a part is not what was exported), source_gone.
    Result<void> read(std::uint64_t offset, MutableBytes out) override;
    // Errors: io_error, always: a seed is never written.
    Result<void> write(std::uint64_t offset, Bytes bytes) override;
    Result<void> zero(std::uint64_t offset, std::uint64_t length, bool unmap) override;
    Result<void> flush() override { return {}; }
    std::string fingerprint() const override { return {}; }
    // The first read that failed: nothing that comes after it is worth trying.
    [[nodiscard]] const std::optional<Error>& trouble() const noexcept { return trouble_; }

private:
    SeedImage(std::unique_ptr<BlockImage> image, std::optional<SeedManifest> manifest)
        : image_(std::move(image)), manifest_(std::move(manifest)) {}
    Result<void> read_checked(std::uint64_t offset, MutableBytes out);
    Result<void> load(std::uint64_t part);

    std::unique_ptr<BlockImage> image_;
    std::optional<SeedManifest> manifest_;
    std::uint64_t loaded_ = UINT64_MAX;  // Which part part_ has.
    ByteVector part_;
    std::optional<Error> trouble_;
};

}  // namespace cw::agent
