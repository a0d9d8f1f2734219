// Checksums and fingerprints. Pure functions, safe from any thread.
//
// CRC-32C (Castagnoli, RFC 3720) guards frames and records; CRC-64/NVME (NVM Express "Rocksoft",
// reflected polynomial 0x9a6c9329ac4bc9b5) is what Azure calls x-ms-content-crc64; XXH3-128 with a
// secret fingerprints blocks.
#pragma once

#include "base/bytes.h"

#include <array>
#include <cstdint>

namespace cw {

// Standard CRC-32C: crc32c("123456789") == 0xe3069283. `seed` chains: the CRC of what came before.
std::uint32_t crc32c(Bytes bytes, std::uint32_t seed = 0) noexcept;

// CRC-64/NVME: crc64nvme("123456789") == 0xae8b14860a799888. `seed` chains.
std::uint64_t crc64nvme(Bytes bytes, std::uint64_t seed = 0) noexcept;
// The same without carry-less multiplication: for processors that lack it, and to test against.
std::uint64_t crc64nvme_portable(Bytes bytes, std::uint64_t seed = 0) noexcept;

inline constexpr std::size_t fingerprint_secret_bytes = 192;
using FingerprintSecret = std::array<std::byte, fingerprint_secret_bytes>;
using Fingerprint = std::array<std::byte, 16>;

// XXH3-128 under a per-machine secret, in XXH128_canonical form.
Fingerprint fingerprint(Bytes block, const FingerprintSecret& secret) noexcept;

// True if every byte is zero. `bytes` may have any length.
bool all_zero(Bytes bytes) noexcept;

}  // namespace cw
