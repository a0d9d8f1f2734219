// The service's rules on names, metadata, checksums, conditions and ranges, as pure functions.
#pragma once

#include "tests/fake_azure/account.h"

namespace cw::fake_azure {

// Nothing: valid.
std::optional<Reply> check_container_name(std::string_view name);
std::optional<Reply> check_blob_name(std::string_view name);
std::optional<Reply> check_metadata(const Request& request);
std::map<std::string, std::string> metadata_of(const Request& request);

// Content-MD5 and x-ms-content-crc64 of the request against its body.
std::optional<Reply> check_body(const Request& request);
std::string crc64_text(std::uint64_t crc);

// If-Match and If-None-Match; `blob` may be null. The dated conditions are refused: nobody here
// sends them.
std::optional<Reply> check_write_conditions(const Request& request, const Blob* blob);
std::optional<Reply> check_read_conditions(const Request& request, const Blob& blob);

struct Range {
    std::uint64_t first, last;  // Inclusive.
};
// x-ms-range or Range: "bytes=a-b" or "bytes=a-". Outer nothing: malformed; inner nothing: absent.
std::optional<std::optional<Range>> range_of(const Request& request);

}  // namespace cw::fake_azure
