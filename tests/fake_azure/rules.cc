#include "tests/fake_azure/rules.h"

#include "base/checksum.h"
#include "egress/blob/http_parse.h"

#include <algorithm>

#include <openssl/evp.h>

namespace cw::fake_azure {
namespace {

constexpr std::string_view metadata_prefix = "x-ms-meta-";
constexpr std::size_t metadata_bytes_max = 8192;

bool letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool digit(char c) {
    return c >= '0' && c <= '9';
}

std::string md5_text(Bytes bytes) {
    std::array<std::byte, 16> digest{};
    unsigned length = 0;
    EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &length,
               EVP_md5(), nullptr);
    return to_base64(digest);
}

std::string_view unquoted(std::string_view etag) {
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
        return etag.substr(1, etag.size() - 2);
    }
    return etag;
}

}  // namespace

std::optional<Reply> check_container_name(std::string_view name) {
    if (name.size() < 3 || name.size() > 63) {
        return Reply(400, "OutOfRangeInput");
    }
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || digit(c); };
    const bool valid = plain(name.front()) && plain(name.back()) &&
                       name.find("--") == std::string_view::npos &&
                       std::ranges::all_of(name, [&](char c) { return plain(c) || c == '-'; });
    return valid ? std::nullopt : std::optional(Reply(400, "InvalidResourceName"));
}

std::optional<Reply> check_blob_name(std::string_view name) {
    const auto segments = std::ranges::count(name, '/') + 1;
    const bool valid = !name.empty() && name.size() <= 1024 && segments <= 254 &&
                       name.back() != '.' && name.back() != '/' &&
                       name.find("./") == std::string_view::npos &&
                       name.find('\\') == std::string_view::npos;
    return valid ? std::nullopt : std::optional(Reply(400, "InvalidResourceName"));
}

std::optional<Reply> check_metadata(const Request& request) {
    std::size_t bytes = 0;
    for (const auto& [header, value] : request.headers) {
        if (!header.starts_with(metadata_prefix)) {
            continue;
        }
        const std::string_view name = std::string_view(header).substr(metadata_prefix.size());
        if (name.empty()) {
            return Reply(400, "EmptyMetadataKey");
        }
        if (!letter(name.front()) || value.empty() ||
            !std::ranges::all_of(name, [](char c) { return letter(c) || digit(c); })) {
            return Reply(400, "InvalidMetadata");
        }
        bytes += name.size() + value.size();
    }
    return bytes <= metadata_bytes_max ? std::nullopt
                                       : std::optional(Reply(400, "MetadataTooLarge"));
}

std::map<std::string, std::string> metadata_of(const Request& request) {
    std::map<std::string, std::string> metadata;
    for (const auto& [header, value] : request.headers) {
        if (header.starts_with(metadata_prefix)) {
            metadata[header.substr(metadata_prefix.size())] = value;
        }
    }
    return metadata;
}

std::optional<Reply> check_body(const Request& request) {
    const std::string_view md5 = request.header("content-md5");
    const std::string_view crc = request.header("x-ms-content-crc64");
    if (!md5.empty() && !crc.empty()) {
        return Reply(400, "BothCrc64AndMd5HeaderPresent");
    }
    if (request.damaged) {
        return std::nullopt;
    }
    if (!crc.empty()) {
        const auto sent = from_base64(crc);
        if (!sent || sent->size() != 8) {
            return Reply(400, "InvalidHeaderValue");
        }
        if (crc != crc64_text(request.body_crc)) {
            return Reply(400, "Crc64Mismatch");
        }
    }
    if (!md5.empty() && request.body && md5 != md5_text(request.body->view())) {
        return Reply(400, "Md5Mismatch");
    }
    return std::nullopt;
}

std::string crc64_text(std::uint64_t crc) {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::byte>(crc >> (8 * i));
    }
    return to_base64(bytes);
}

std::optional<Reply> check_write_conditions(const Request& request, const Blob* blob) {
    const std::string_view match = request.header("if-match");
    const std::string_view none_match = request.header("if-none-match");
    if (request.has("if-modified-since") || request.has("if-unmodified-since")) {
        return Reply(400, "UnsupportedHeader");
    }
    if (!match.empty() && !none_match.empty()) {
        return Reply(400, "MultipleConditionHeadersNotSupported");
    }
    if (none_match == "*" && blob != nullptr) {
        return Reply(409, "BlobAlreadyExists");
    }
    if (!none_match.empty() && blob != nullptr && unquoted(none_match) == blob->etag) {
        return Reply(412, "ConditionNotMet");
    }
    if (!match.empty() && (blob == nullptr || (match != "*" && unquoted(match) != blob->etag))) {
        return Reply(412, "ConditionNotMet");
    }
    return std::nullopt;
}

std::optional<Reply> check_read_conditions(const Request& request, const Blob& blob) {
    const std::string_view match = request.header("if-match");
    const std::string_view none_match = request.header("if-none-match");
    if (!match.empty() && match != "*" && unquoted(match) != blob.etag) {
        return Reply(412, "ConditionNotMet");
    }
    if (!none_match.empty() && (none_match == "*" || unquoted(none_match) == blob.etag)) {
        return Reply(304, "ConditionNotMet");
    }
    return std::nullopt;
}

std::optional<std::optional<Range>> range_of(const Request& request) {
    std::string_view text = request.header("x-ms-range");
    text = text.empty() ? request.header("range") : text;
    if (text.empty()) {
        return std::optional<Range>{};
    }
    constexpr std::string_view unit = "bytes=";
    const std::size_t dash = text.find('-');
    if (!text.starts_with(unit) || dash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto first = blob::parse_decimal(text.substr(unit.size(), dash - unit.size()));
    const std::string_view end = text.substr(dash + 1);
    const auto last =
        end.empty() ? std::optional<std::uint64_t>(UINT64_MAX) : blob::parse_decimal(end);
    if (!first || !last || *first > *last) {
        return std::nullopt;
    }
    return std::optional<Range>(Range{*first, *last});
}

}  // namespace cw::fake_azure
