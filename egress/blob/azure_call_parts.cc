#include "egress/blob/azure_call_parts.h"

#include "egress/blob/azure_errors.h"

#include <algorithm>
#include <array>

namespace cw::blob {

std::string quoted(const std::string& etag) {
    return '"' + etag + '"';
}

std::string unquoted(std::string_view etag) {
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
        etag = etag.substr(1, etag.size() - 2);
    }
    return std::string(etag);
}

std::string crc64_text(std::uint64_t crc) {
    std::array<std::byte, 8> bytes;
    ByteWriter(bytes).u64(crc);
    return to_base64(bytes);
}

bool answered(const HttpReply& reply, int status) {
    return reply.transport == Transport::answered && reply.status == status && from_service(reply);
}

Error failure(const HttpReply& reply, std::string_view what, std::int64_t now_s) {
    return judge_failure(reply, what, now_s).error;
}

Result<BlobProperties> parse_properties(const HttpReply& reply) {
    BlobProperties properties;
    properties.etag = unquoted(header_of(reply.headers, "etag"));
    if (properties.etag.empty()) {
        return fail(Errc::blob_unavailable, "a reply without an etag");
    }
    for (const auto& [name, value] : reply.headers) {
        if (name.starts_with(metadata_prefix)) {
            properties.metadata.emplace_back(name.substr(metadata_prefix.size()), value);
        }
    }
    std::ranges::sort(properties.metadata);
    return properties;
}

}  // namespace cw::blob
