#include "tests/fake_azure/message.h"

#include "egress/blob/http_parse.h"

#include <algorithm>

namespace cw::fake_azure {
namespace {

std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return static_cast<unsigned>(c - '0');
    }
    if (c >= 'a' && c <= 'f') {
        return static_cast<unsigned>(c - 'a' + 10);
    }
    if (c >= 'A' && c <= 'F') {
        return static_cast<unsigned>(c - 'A' + 10);
    }
    return std::nullopt;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

bool parse_query(std::string_view text, Request& request) {
    while (!text.empty()) {
        const std::string_view pair = text.substr(0, text.find('&'));
        text.remove_prefix(std::min(pair.size() + 1, text.size()));
        const std::size_t equals = std::min(pair.find('='), pair.size());
        const auto name = percent_decode(pair.substr(0, equals));
        const auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())));
        if (!name || !value) {
            return false;
        }
        request.query.emplace_back(lower(*name), *value);
    }
    return true;
}

bool parse_start_line(std::string_view line, Request& request) {
    const std::size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last || line.substr(last) != " HTTP/1.1") {
        return false;
    }
    request.method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::size_t mark = std::min(target.find('?'), target.size());
    request.raw_path = target.substr(0, mark);
    return request.raw_path.starts_with('/') &&
           parse_query(target.substr(std::min(mark + 1, target.size())), request);
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
    const auto found = headers.find(std::string(name));
    return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

bool Request::has(std::string_view name) const {
    return headers.contains(std::string(name));
}

std::string_view Request::parameter(std::string_view name) const {
    for (const auto& [key, value] : query) {
        if (key == name) {
            return value;
        }
    }
    return {};
}

std::optional<Request> parse_head(std::string_view head) {
    Request request;
    std::size_t end = head.find("\r\n");
    if (end == std::string_view::npos || !parse_start_line(head.substr(0, end), request)) {
        return std::nullopt;
    }
    head.remove_prefix(end + 2);
    while ((end = head.find("\r\n")) != 0) {
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        auto header = blob::parse_header_line(head.substr(0, end));
        if (!header || !request.headers.emplace(std::move(*header)).second) {
            return std::nullopt;  // A header twice: nothing we serve sends lists.
        }
        head.remove_prefix(end + 2);
    }
    if (request.has("content-length")) {
        const auto length = blob::parse_decimal(request.header("content-length"));
        if (!length) {
            return std::nullopt;
        }
        request.content_length = *length;
        request.has_length = true;
    }
    return request;
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const auto high = text.size() - i > 2 ? hex_digit(text[i + 1]) : std::nullopt;
        const auto low = text.size() - i > 2 ? hex_digit(text[i + 2]) : std::nullopt;
        if (!high || !low) {
            return std::nullopt;
        }
        out += static_cast<char>(*high * 16 + *low);
        i += 2;
    }
    return out;
}

std::string xml_escape(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace cw::fake_azure
