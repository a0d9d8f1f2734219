#include "recovery/point_source.h"

#include "recovery/block_digests.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_blocks = 64;

class ReadDigests final : public PointDigests {
public:
    ReadDigests(std::unique_ptr<Image> image, const FingerprintSecret& secret)
        : image_(std::move(image)), secret_(secret) {}

    Result<std::optional<Fingerprint>> at(std::uint64_t block) override {
        if (content_.empty() || block < first_ || block >= first_ + window_blocks) {
            CW_TRY(read_window(block));
        }
        const std::uint64_t at = (block - first_) * digest_block_bytes;
        CW_ASSERT(at < content_.size());
        return fingerprint(
            Bytes(content_).subspan(at, std::min(digest_block_bytes, content_.size() - at)),
            secret_);
    }
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override { return 0; }

private:
    Result<void> read_window(std::uint64_t block) {
        const std::uint64_t first = block / window_blocks * window_blocks;
        const std::uint64_t offset = first * digest_block_bytes;
        CW_ASSERT(offset < image_->size_bytes());
        content_.resize(
            std::min(window_blocks * digest_block_bytes, image_->size_bytes() - offset));
        first_ = first;
        auto read = image_->read(offset, content_);
        if (!read) {
            content_.clear();
        }
        return read;
    }

    const std::unique_ptr<Image> image_;
    const FingerprintSecret secret_;
    std::uint64_t first_ = 0;  // Block of content_.
    ByteVector content_;
};

}  // namespace

std::unique_ptr<PointDigests> digests_by_reading(std::unique_ptr<Image> image,
                                                 const FingerprintSecret& secret) {
    return std::make_unique<ReadDigests>(std::move(image), secret);
}

}  // namespace cw::recovery
