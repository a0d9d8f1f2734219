// VaultSealer: the transform's Sealer over one segment's keys.
#pragma once

#include "egress/vault/segment.h"
#include "pipeline/sealer.h"

#include <memory>

namespace cw::upload {

// Thread-safe, as SegmentCrypto is.
class VaultSealer final : public pipeline::Sealer {
public:
    VaultSealer(std::unique_ptr<vault::SegmentCrypto> crypto, const FingerprintSecret& secret)
        : crypto_(std::move(crypto)), secret_(secret) {}

    GcmTag seal(const pipeline::ChunkBinding& chunk, Bytes plain,
                std::span<const MutableBytes> cipher) override;
    Result<void> open(const pipeline::ChunkBinding& chunk, std::span<const Bytes> cipher,
                      const GcmTag& tag, MutableBytes plain) override;
    [[nodiscard]] const FingerprintSecret& fingerprint_secret() const override { return secret_; }
    [[nodiscard]] vault::SegmentCrypto& crypto() noexcept { return *crypto_; }

private:
    std::unique_ptr<vault::SegmentCrypto> crypto_;
    FingerprintSecret secret_;
};

}  // namespace cw::upload
