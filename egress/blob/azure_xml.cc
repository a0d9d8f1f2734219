#include "egress/blob/azure_xml.h"

#include "egress/blob/http_parse.h"

#include <algorithm>
#include <optional>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>

namespace cw::blob {
namespace {

constexpr std::size_t error_bytes_max = 64 * 1024, code_bytes_max = 128;
// A marker becomes part of the next request's URL. It holds a name, which has 1,024 characters.
constexpr std::size_t marker_bytes_max = 16 * 1024;

std::string bounded_code(std::string_view code) {
    return code.size() <= code_bytes_max ? std::string(code) : std::string{};
}

std::optional<std::string> bounded_marker(const pugi::xml_node& parent) {
    const std::string_view marker = parent.child_value("NextMarker");
    return marker.size() <= marker_bytes_max ? std::optional(std::string(marker)) : std::nullopt;
}

}  // namespace

std::string parse_error_code(Bytes body) {
    if (body.empty() || body.size() > error_bytes_max) {
        return {};
    }
    pugi::xml_document document;
    if (document.load_buffer(body.data(), body.size())) {
        return bounded_code(document.child("Error").child_value("Code"));
    }
    const auto json = nlohmann::json::parse(as_text(body), nullptr, false);
    if (!json.is_object() || !json.contains("error")) {
        return {};
    }
    const auto& error = json["error"];
    if (!error.is_object() || !error.contains("code") || !error["code"].is_string()) {
        return {};
    }
    return bounded_code(error["code"].get_ref<const std::string&>());
}

Result<ListPage> parse_list(Bytes body) {
    const auto malformed = [](const char* what) {
        return fail(Errc::blob_unavailable, std::string("listing without ") + what);
    };
    pugi::xml_document document;
    if (!document.load_buffer(body.data(), body.size())) {
        return malformed("valid XML");
    }
    const pugi::xml_node results = document.child("EnumerationResults");
    const pugi::xml_node blobs = results.child("Blobs");
    if (!blobs) {
        return malformed("Blobs");
    }
    ListPage page;
    for (const pugi::xml_node blob : blobs.children("Blob")) {
        const std::string_view name = blob.child_value("Name");
        const auto size = parse_decimal(blob.child("Properties").child_value("Content-Length"));
        if (name.empty() || !size) {
            return malformed("a name or size");
        }
        page.entries.push_back({std::string(name), *size});
    }
    std::ranges::sort(page.entries, {}, &ListPage::Entry::name);
    auto next = bounded_marker(results);
    if (!next) {
        return malformed("a marker of sensible length");
    }
    page.next = std::move(*next);
    return page;
}

Result<PageRanges> parse_page_list(Bytes body, std::uint64_t offset, std::uint64_t length) {
    const auto malformed = [](const char* what) {
        return fail(Errc::blob_unavailable, std::string("page ranges without ") + what);
    };
    pugi::xml_document document;
    if (!document.load_buffer(body.data(), body.size())) {
        return malformed("valid XML");
    }
    const pugi::xml_node list = document.child("PageList");
    if (!list) {
        return malformed("a PageList");
    }
    PageRanges out;
    std::uint64_t seen = 0;  // The end of the last one.
    const std::uint64_t end = offset + length;
    for (const pugi::xml_node range : list.children("PageRange")) {
        const auto first = parse_decimal(range.child_value("Start"));
        const auto last = parse_decimal(range.child_value("End"));
        if (!first || !last || *last < *first || *first < seen || *last == UINT64_MAX) {
            return malformed("order or sense");
        }
        seen = *last + 1;
        const std::uint64_t begin = std::max(*first, offset), until = std::min(seen, end);
        if (begin >= until) {
            continue;
        }
        if (!out.ranges.empty() && out.ranges.back().offset + out.ranges.back().length == begin) {
            out.ranges.back().length += until - begin;
        } else {
            out.ranges.push_back({begin, until - begin});
        }
    }
    auto next = bounded_marker(list);
    if (!next) {
        return malformed("a marker of sensible length");
    }
    out.next = std::move(*next);
    return out;
}

}  // namespace cw::blob
