// The sealed part of a manifest as bytes: FORMAT.md, "manifest body". Private to the vault room.
#pragma once

#include "egress/vault/manifest.h"

namespace cw::vault {

inline constexpr std::size_t display_name_bytes_max = 256;  // Machine and disk names, point tags.
inline constexpr std::size_t wrapped_dek_bytes_max = 4096;

// Everything below "Sealed." in Manifest; asserts the limits above.
ByteVector encode_manifest_body(const Manifest& manifest);
// Fills those fields of `manifest`, whose machine and number are already set, from a body of format
// `version` (1: without index runs). Errors: object_corrupt.
Result<void> decode_manifest_body(Bytes body, std::uint16_t version, Manifest& manifest);

}  // namespace cw::vault
