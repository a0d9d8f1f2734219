#include "agent/seed/seed_image.h"

#include <algorithm>

namespace cw::agent {

Result<std::unique_ptr<SeedImage>> SeedImage::open(std::unique_ptr<BlockImage> image,
                                                   std::optional<SeedManifest> manifest) {
    if (manifest && image->size() != manifest->size_bytes) {
        return fail(Errc::size_mismatch, "the image has " + std::to_string(image->size()) +
                                             " bytes, the disk that its manifest names has " +
                                             std::to_string(manifest->size_bytes));
    }
    return std::unique_ptr<SeedImage>(new SeedImage(std::move(image), std::move(manifest)));
}

Result<void> SeedImage::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size() && out.size() <= size() - offset);
    auto done = manifest_ ? read_checked(offset, out) : image_->read(offset, out);
    if (!done && !trouble_) {
        trouble_ = done.error();
    }
    return done;
}

Result<void> SeedImage::read_checked(std::uint64_t offset, MutableBytes out) {
    while (!out.empty()) {
        const std::uint64_t part = offset / seed_part_bytes;
        CW_TRY(load(part));
        const std::uint64_t from = offset - part * seed_part_bytes;
        const std::size_t step = std::min<std::size_t>(out.size(), part_.size() - from);
        std::copy_n(part_.begin() + static_cast<std::ptrdiff_t>(from), step, out.begin());
        out = out.subspan(step);
        offset += step;
    }
    return {};
}

Result<void> SeedImage::load(std::uint64_t part) {
    if (part == loaded_) {
        return {};
    }
    loaded_ = UINT64_MAX;
    part_.resize(seed_part_length(size(), part));
    CW_TRY(image_->read(part * seed_part_bytes, part_));
    if (sha256(part_) != manifest_->parts.at(part)) {
        return fail(Errc::record_corrupt, "the image is not what was exported: the " +
                                              std::to_string(part_.size() / mib) + " MiB at " +
                                              std::to_string(part * seed_part_bytes / mib) +
                                              " MiB differ");
    }
    loaded_ = part;
    return {};
}

Result<void> SeedImage::write(std::uint64_t /*offset*/, Bytes /*bytes*/) {
    return fail(Errc::io_error, "a seed is only read");
}

Result<void> SeedImage::zero(std::uint64_t /*offset*/, std::uint64_t /*length*/, bool /*unmap*/) {
    return fail(Errc::io_error, "a seed is only read");
}

}  // namespace cw::agent
