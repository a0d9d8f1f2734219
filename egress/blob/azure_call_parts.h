// What the calls of azure_calls.h have in common. Private to them.
#pragma once

#include "egress/blob/azure_calls.h"

namespace cw::blob {

inline constexpr std::string_view metadata_prefix = "x-ms-meta-";

std::string quoted(const std::string& etag);
std::string unquoted(std::string_view etag);
// The service writes a CRC-64 as base64 of its eight bytes, lowest first.
std::string crc64_text(std::uint64_t crc);
// The service itself answered with `status`.
bool answered(const HttpReply& reply, int status);
Error failure(const HttpReply& reply, std::string_view what, std::int64_t now_s);

}  // namespace cw::blob
