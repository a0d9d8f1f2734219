// The CRC of a concatenation from the CRCs of its parts, without reading the bytes again: workers
// compute parts in any order, the uploader needs the whole.
#pragma once

#include <cstdint>

namespace cw::pipeline {

// CRC-64/NVME of A ‖ B, given crc64nvme(A), crc64nvme(B) and the length of B. O(log length).
std::uint64_t crc64nvme_combine(std::uint64_t crc_a, std::uint64_t crc_b,
                                std::uint64_t length_b_bytes) noexcept;
// CRC-32C of A ‖ B likewise.
std::uint32_t crc32c_combine(std::uint32_t crc_a, std::uint32_t crc_b,
                             std::uint64_t length_b_bytes) noexcept;

}  // namespace cw::pipeline
