// Checks and small values that every implementation of BlobStore shares, so that none is laxer than
// another: a request refused by Azure is refused by the directory and by the fakes too.
#pragma once

#include "egress/blob/store.h"

#include <string_view>

namespace cw::blob {

inline constexpr std::uint64_t body_bytes_max = 64ULL << 20;   // Of one put.
inline constexpr std::uint64_t get_bytes_max = 64ULL << 20;    // Of one get.
inline constexpr std::size_t metadata_bytes_max = 8ULL << 10;  // Names and values together.

// Errors: blob_rejected (name, size, metadata names [a-z][a-z0-9]*, printable values without
// surrounding spaces, unsorted or doubled names, a missing or superfluous etag).
Result<void> check_put(const PutRequest& request);
// That the body still is what its writer verified, for a store to which the checksum does not
// travel. Errors: blob_checksum.
Result<void> check_body(const PutRequest& request);
// Errors: blob_rejected (name, more than get_bytes_max).
Result<void> check_get(const GetRequest& request);
// A prefix may be empty or end anywhere in a name. Errors: blob_rejected.
Result<void> check_prefix(std::string_view prefix);

std::uint64_t total_bytes(const std::vector<Bytes>& parts) noexcept;
std::uint64_t crc64_of(const std::vector<Bytes>& parts) noexcept;

// A put that was certainly not applied.
PutResult refused(Errc code, std::string detail);
// A put that may have been applied, or may be applied later.
PutResult unknown(std::string detail);
PutResult stored(std::string etag);

}  // namespace cw::blob
