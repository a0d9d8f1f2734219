// The HTTP/1.1 head that opens a replication connection: one parser and one builder for both sides.
//
// Strict and small: a head is at most 8 KiB, lines end in CRLF, names are tokens, no folding, no
// duplicates of the headers that decide. Anything else is frame_malformed, which the server answers
// with 400. Bodies are Content-Length only. Thread-safety: pure functions.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::wire {

inline constexpr std::size_t http_head_bytes_max = 8 * 1024;
inline constexpr std::size_t http_headers_max = 64;
inline constexpr std::string_view upgrade_path = "/v1/replication";
inline constexpr std::string_view healthz_path = "/v1/healthz";
inline constexpr std::string_view upgrade_token = "causeway-replication/1";

struct HttpHeader {
    std::string name;   // As sent; compared without case.
    std::string value;  // Without surrounding blanks.
};

// The value of the one header called `name`; nullptr when absent.
const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name);
// Whether a comma-separated header lists `token` (compared without case).
bool lists_token(const std::vector<HttpHeader>& headers, std::string_view name,
                 std::string_view token);

struct HttpRequest {
    std::string method;
    std::string path;  // Begins with '/'; printable ASCII; never decoded.
    std::vector<HttpHeader> headers;
};

struct HttpResponse {
    int status = 0;  // 100..599
    std::string reason;
    std::vector<HttpHeader> headers;
};

// Length of the head in `bytes` including its empty line; nullopt when more is needed.
// Errors: frame_malformed when it is longer than http_head_bytes_max.
Result<std::optional<std::size_t>> find_head_end(Bytes bytes);

// `head` is exactly what find_head_end() measured. Errors: frame_malformed, version_unsupported
// (not HTTP/1.1).
Result<HttpRequest> parse_request(Bytes head);
Result<HttpResponse> parse_response(Bytes head);

// Names and values are ours: asserted to be free of control characters.
std::string build_request(const HttpRequest& request);
std::string build_response(const HttpResponse& response, std::string_view body = {});

// GET /v1/replication with the upgrade headers, for clients. `host` goes into Host.
std::string build_upgrade_request(std::string_view host);
// The 101 that answers it.
std::string build_upgrade_response();
// Whether the server agreed. Errors: what its status means to a client, with Retry-After seconds in
// the detail: 401, 409 identity_refused, 403 authz_denied, 426 version_unsupported, 429 and 503
// server_busy, others unreachable.
Result<void> check_upgrade_response(const HttpResponse& response);
// Retry-After in seconds, 0 when absent or not a number; at most 86,400.
std::uint32_t retry_after_of(const HttpResponse& response);

}  // namespace cw::wire
