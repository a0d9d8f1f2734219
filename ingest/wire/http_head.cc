#include "ingest/wire/http_head.h"

#include "ingest/wire/codec.h"
#include "ingest/wire/messages.h"

#include <algorithm>
#include <charconv>

namespace cw::wire {
namespace {

constexpr std::string_view line_end = "\r\n", head_end = "\r\n\r\n", version = "HTTP/1.1";

// Headers of which a second one changes the meaning: two are refused (request smuggling).
constexpr std::string_view single_headers[] = {"host",    "content-length", "transfer-encoding",
                                               "upgrade", "connection",     "retry-after"};

char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_caseless(std::string_view a, std::string_view b) noexcept {
    return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) noexcept {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        const bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        return alphanumeric || std::string_view("!#$%&'*+-.^_`|~").contains(c);
    });
}

bool is_visible(std::string_view text) noexcept {
    return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_value(std::string_view text) noexcept {
    return std::ranges::all_of(
        text, [](char c) { return c == '\t' || (c >= ' ' && c != 0x7f) || c < 0; });
}

std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
        text.remove_suffix(1);
    }
    return text;
}

// Cuts the next line off `text`, which ends in CRLF.
std::string_view take_line(std::string_view& text) noexcept {
    const std::size_t at = text.find(line_end);
    const std::string_view line = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + line_end.size());
    return line;
}

Result<HttpHeader> parse_header(std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
        return malformed("HTTP header name");
    }
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_value(value)) {
        return malformed("HTTP header value");
    }
    return HttpHeader{std::string(line.substr(0, colon)), std::string(value)};
}

Result<std::vector<HttpHeader>> parse_headers(std::string_view text) {
    std::vector<HttpHeader> headers;
    while (true) {
        const std::string_view line = take_line(text);
        if (line.empty()) {
            break;
        }
        if (headers.size() == http_headers_max) {
            return malformed("too many HTTP headers");
        }
        CW_TRY_ASSIGN(HttpHeader header, parse_header(line));
        const bool single = std::ranges::any_of(single_headers, [&](std::string_view name) {
            return equal_caseless(name, header.name);
        });
        if (single && find_header(headers, header.name) != nullptr) {
            return malformed("HTTP header twice: " + header.name);
        }
        headers.push_back(std::move(header));
    }
    if (!text.empty()) {
        return malformed("bytes after the HTTP head");
    }
    return headers;
}

// The head as text, whose CR and LF come only as pairs at line ends, and which is whole.
Result<std::string_view> head_text(Bytes head) {
    const std::string_view text = as_text(head);
    if (text.size() > http_head_bytes_max || !text.ends_with(head_end)) {
        return malformed("HTTP head is not whole");
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool lone_lf = text[i] == '\n' && (i == 0 || text[i - 1] != '\r');
        const bool lone_cr = text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n');
        if (lone_lf || lone_cr || text[i] == '\0') {
            return malformed("HTTP line end");
        }
    }
    return text;
}

void append_headers(std::string& out, const std::vector<HttpHeader>& headers) {
    for (const HttpHeader& header : headers) {
        CW_ASSERT(is_token(header.name) && is_value(header.value));
        out += header.name;
        out += ": ";
        out += header.value;
        out += line_end;
    }
}

}  // namespace

const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name) {
    const auto it = std::ranges::find_if(
        headers, [&](const HttpHeader& header) { return equal_caseless(header.name, name); });
    return it == headers.end() ? nullptr : &it->value;
}

bool lists_token(const std::vector<HttpHeader>& headers, std::string_view name,
                 std::string_view token) {
    const std::string* value = find_header(headers, name);
    if (value == nullptr) {
        return false;
    }
    std::string_view rest = *value;
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        if (equal_caseless(trimmed(rest.substr(0, comma)), token)) {
            return true;
        }
        rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
    return false;
}

Result<std::optional<std::size_t>> find_head_end(Bytes bytes) {
    const std::size_t at =
        as_text(bytes.first(std::min(bytes.size(), http_head_bytes_max))).find(head_end);
    if (at != std::string_view::npos) {
        return at + head_end.size();
    }
    if (bytes.size() >= http_head_bytes_max) {
        return malformed("HTTP head longer than 8 KiB");
    }
    return std::nullopt;
}

Result<HttpRequest> parse_request(Bytes head) {
    CW_TRY_ASSIGN(std::string_view text, head_text(head));
    const std::string_view line = take_line(text);
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
    if (second == std::string_view::npos) {
        return malformed("HTTP request line");
    }
    HttpRequest request;
    request.method = line.substr(0, first);
    request.path = line.substr(first + 1, second - first - 1);
    if (!is_token(request.method) || !request.path.starts_with('/') || !is_visible(request.path)) {
        return malformed("HTTP request line");
    }
    if (line.substr(second + 1) != version) {
        return fail(Errc::version_unsupported, "not HTTP/1.1");
    }
    CW_TRY_ASSIGN(request.headers, parse_headers(text));
    return request;
}

Result<HttpResponse> parse_response(Bytes head) {
    CW_TRY_ASSIGN(std::string_view text, head_text(head));
    const std::string_view line = take_line(text);
    if (!line.starts_with(version) || line.size() < version.size() + 4 ||
        line[version.size()] != ' ') {
        return fail(Errc::version_unsupported, "not an HTTP/1.1 answer");
    }
    HttpResponse response;
    const std::string_view code = line.substr(version.size() + 1, 3);
    const auto [end, error] = std::from_chars(code.data(), code.data() + 3, response.status);
    const std::string_view rest = line.substr(version.size() + 4);
    if (error != std::errc{} || end != code.data() + 3 || response.status < 100 ||
        response.status > 599 || !(rest.empty() || rest.front() == ' ') || !is_value(rest)) {
        return malformed("HTTP status line");
    }
    response.reason = trimmed(rest);
    CW_TRY_ASSIGN(response.headers, parse_headers(text));
    return response;
}

std::string build_request(const HttpRequest& request) {
    CW_ASSERT(is_token(request.method) && request.path.starts_with('/') &&
              is_visible(request.path));
    std::string out = request.method + " " + request.path + " " + std::string(version);
    out += line_end;
    append_headers(out, request.headers);
    out += line_end;
    CW_ASSERT(out.size() <= http_head_bytes_max);
    return out;
}

std::string build_response(const HttpResponse& response, std::string_view body) {
    CW_ASSERT(response.status >= 100 && response.status <= 599 && is_value(response.reason));
    std::string out = std::string(version) + " " + std::to_string(response.status) + " ";
    out += response.reason;
    out += line_end;
    append_headers(out, response.headers);
    if (response.status >= 200) {
        append_headers(out, {{"Content-Length", std::to_string(body.size())}});
    }
    out += line_end;
    out += body;
    return out;
}

std::string build_upgrade_request(std::string_view host) {
    return build_request({"GET",
                          std::string(upgrade_path),
                          {{"Host", std::string(host)},
                           {"Connection", "Upgrade"},
                           {"Upgrade", std::string(upgrade_token)}}});
}

std::string build_upgrade_response() {
    return build_response({101,
                           "Switching Protocols",
                           {{"Connection", "Upgrade"}, {"Upgrade", std::string(upgrade_token)}}});
}

Result<void> check_upgrade_response(const HttpResponse& response) {
    const std::string evidence = "HTTP " + std::to_string(response.status) + " " + response.reason;
    switch (response.status) {
        case 101:
            if (!lists_token(response.headers, "Upgrade", upgrade_token)) {
                return fail(Errc::version_unsupported, "upgraded to something else");
            }
            return {};
        case 401:
            return fail(Errc::identity_refused, evidence);
        case 403:
            return fail(Errc::authz_denied, evidence);
        case 409:
            return fail(Errc::identity_refused, evidence);
        case 426:
            return fail(Errc::version_unsupported, evidence);
        case 429:
        case 503:
            return fail(Errc::server_busy, evidence + ", retry after " +
                                               std::to_string(retry_after_of(response)) + " s");
        default:
            return fail(Errc::unreachable, evidence);
    }
}

std::uint32_t retry_after_of(const HttpResponse& response) {
    const std::string* value = find_header(response.headers, "Retry-After");
    std::uint32_t seconds = 0;
    if (value == nullptr ||
        std::from_chars(value->data(), value->data() + value->size(), seconds).ec != std::errc{}) {
        return 0;
    }
    return std::min(seconds, retry_after_s_max);
}

}  // namespace cw::wire
