// Sealer: how pipeline gets key, nonce and AAD bytes without knowing the vault's formats.
// egress/vault implements it (one per segment), appliance connects.
#pragma once

#include "base/checksum.h"
#include "base/crypto.h"
#include "base/ids.h"

#include <cstdint>

namespace cw::pipeline {

enum class Codec : std::uint8_t { none = 0, lz4 = 1, zstd = 2, zero = 3, discard = 4 };

// What a chunk's authentication covers besides its bytes.
struct ChunkBinding {
    std::uint32_t ordinal = 0;  // Place within the segment; also the nonce.
    std::uint64_t disk_offset = 0;
    std::uint32_t raw_length = 0;  // 1 .. 1 MiB
    Codec codec = Codec::none;
    Seq last_seq{};  // Newest write that touched the chunk.
};

class Sealer {
public:
    virtual ~Sealer() = default;
    // Encrypts `plain` (compressed bytes) into the scattered `cipher`. Thread-safe: chunks of one
    // segment are sealed by several workers at once.
    virtual GcmTag seal(const ChunkBinding& chunk, Bytes plain,
                        std::span<const MutableBytes> cipher) = 0;
    // The inverse, for verify-after-transform. Errors: object_corrupt.
    virtual Result<void> open(const ChunkBinding& chunk, std::span<const Bytes> cipher,
                              const GcmTag& tag, MutableBytes plain) = 0;
    // The machine's secret for block fingerprints.
    [[nodiscard]] virtual const FingerprintSecret& fingerprint_secret() const = 0;
};

}  // namespace cw::pipeline
