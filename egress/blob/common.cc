#include "egress/blob/common.h"

#include "base/checksum.h"
#include "base/ids.h"

#include <algorithm>

namespace cw::blob {
namespace {

bool plain_metadata_name(std::string_view name) noexcept {
    const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    // A name is a C# identifier to the service; only letters and digits also sort the same in
    // byte order and in the order it uses to check signatures.
    return !name.empty() && letter(name.front()) &&
           std::ranges::all_of(name, [&](char c) { return letter(c) || digit(c); });
}

bool plain_metadata_value(std::string_view value) noexcept {
    // Empty values and outer spaces are lost or trimmed by HTTP.
    return !value.empty() && value.front() != ' ' && value.back() != ' ' &&
           std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7f; });
}

Result<void> check_metadata(const Metadata& metadata) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < metadata.size(); ++i) {
        const auto& [name, value] = metadata[i];
        if (!plain_metadata_name(name) || !plain_metadata_value(value)) {
            return fail(Errc::blob_rejected, "metadata name or value is not plain");
        }
        if (i > 0 && metadata[i - 1].first >= name) {
            return fail(Errc::blob_rejected, "metadata is unsorted or names one twice");
        }
        bytes += name.size() + value.size();
    }
    if (bytes > metadata_bytes_max) {
        return fail(Errc::blob_rejected, "metadata of " + std::to_string(bytes) + " bytes");
    }
    return {};
}

}  // namespace

Result<void> check_put(const PutRequest& request) {
    CW_TRY(check_name(request.name));
    if (const std::uint64_t bytes = total_bytes(request.body); bytes > body_bytes_max) {
        return fail(Errc::blob_rejected, "body of " + std::to_string(bytes) + " bytes");
    }
    CW_TRY(check_metadata(request.metadata));
    if ((request.condition == PutCondition::if_match) == request.etag.empty()) {
        return fail(Errc::blob_rejected, "an etag belongs to if_match and to nothing else");
    }
    return {};
}

Result<void> check_body(const PutRequest& request) {
    if (request.crc64 && crc64_of(request.body) != *request.crc64) {
        return fail(Errc::blob_checksum,
                    to_string(request.name) + ": the bytes changed since they were verified");
    }
    return {};
}

Result<void> check_get(const GetRequest& request) {
    CW_TRY(check_name(request.name));
    if (request.length > get_bytes_max || request.offset > UINT64_MAX / 2) {
        return fail(Errc::blob_rejected, "range of " + std::to_string(request.length) + " bytes");
    }
    return {};
}

Result<void> check_prefix(std::string_view prefix) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-' || c == '/';
    };
    if (prefix.size() > 1024 || !std::ranges::all_of(prefix, allowed)) {
        return fail(Errc::blob_rejected, "prefix is not [a-z0-9/._-]");
    }
    return {};
}

std::uint64_t total_bytes(const std::vector<Bytes>& parts) noexcept {
    std::uint64_t bytes = 0;
    for (const Bytes part : parts) {
        bytes += part.size();
    }
    return bytes;
}

std::uint64_t crc64_of(const std::vector<Bytes>& parts) noexcept {
    std::uint64_t crc = 0;
    for (const Bytes part : parts) {
        crc = crc64nvme(part, crc);
    }
    return crc;
}

PutResult refused(Errc code, std::string detail) {
    return {PutOutcome::refused, {}, Error{code, std::move(detail)}};
}

PutResult unknown(std::string detail) {
    return {PutOutcome::unknown, {}, Error{Errc::blob_unavailable, std::move(detail)}};
}

PutResult stored(std::string etag) {
    return {PutOutcome::stored, std::move(etag), {}};
}

}  // namespace cw::blob
