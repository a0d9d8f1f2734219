// Page blobs: creation, page writes fenced by sequence number, ranges, resizing.
#include "egress/blob/http_parse.h"
#include "tests/fake_azure/rules.h"
#include "tests/fake_azure/service.h"

#include <algorithm>

namespace cw::fake_azure {
namespace {

constexpr std::uint64_t page_write_bytes_max = 4 << 20;
constexpr std::uint64_t page_blob_bytes_max = 8ULL << 40;

std::optional<Reply> check_sequence(const Request& request, const Blob& blob) {
    struct Row {
        std::string_view header;
        bool (*holds)(std::uint64_t now, std::uint64_t asked);
    };
    constexpr std::array<Row, 3> rows{{
        {"x-ms-if-sequence-number-le", [](std::uint64_t n, std::uint64_t a) { return n <= a; }},
        {"x-ms-if-sequence-number-lt", [](std::uint64_t n, std::uint64_t a) { return n < a; }},
        {"x-ms-if-sequence-number-eq", [](std::uint64_t n, std::uint64_t a) { return n == a; }},
    }};
    for (const Row& row : rows) {
        if (!request.has(row.header)) {
            continue;
        }
        const auto asked = blob::parse_decimal(request.header(row.header));
        if (!asked) {
            return Reply(400, "InvalidHeaderValue");
        }
        if (!row.holds(blob.sequence_number, *asked)) {
            return Reply(412, "SequenceNumberConditionNotMet");
        }
    }
    return std::nullopt;
}

}  // namespace

Reply Service::create_page_blob(const Request& request, Target target) {
    const auto size = blob::parse_decimal(request.header("x-ms-blob-content-length"));
    if (!size || *size % page_bytes != 0 || request.content_length != 0) {
        return {400, "InvalidHeaderValue"};
    }
    if (*size > page_blob_bytes_max) {
        return {400, "OutOfRangeInput"};
    }
    if (target.blob != nullptr && target.blob->kind != BlobKind::page) {
        return {409, "InvalidBlobType"};
    }
    Blob fresh;
    fresh.kind = BlobKind::page;
    fresh.size = *size;
    fresh.sequence_number =
        blob::parse_decimal(request.header("x-ms-blob-sequence-number")).value_or(0);
    return store(request, target, std::move(fresh));
}

Reply Service::put_page(const Request& request, Target target) {
    Blob& blob = *target.blob;
    if (blob.kind != BlobKind::page) {
        return {409, "InvalidBlobType"};
    }
    const auto range = range_of(request);
    if (!range || !range->has_value() || (*range)->first % page_bytes != 0 ||
        ((*range)->last + 1) % page_bytes != 0) {
        return {400, "InvalidPageRange"};
    }
    const std::uint64_t first = (*range)->first, length = (*range)->last + 1 - first;
    if ((*range)->last >= blob.size) {
        return {416, "InvalidPageRange"};
    }
    const bool update = request.header("x-ms-page-write") == "update";
    if (!update && request.header("x-ms-page-write") != "clear") {
        return {400, "InvalidHeaderValue"};
    }
    if (update && length > page_write_bytes_max) {
        return {413, "RequestBodyTooLarge"};
    }
    if (request.content_length != (update ? length : 0)) {
        return {400, "InvalidHeaderValue"};
    }
    if (auto refused = check_sequence(request, blob)) {
        return *refused;
    }
    if (auto refused = refuse_write(request, target)) {
        return *refused;
    }
    if (!update) {
        blob.pages.clear(first, length);
    } else if (request.body) {
        blob.pages.write(first, request.body->view());
    }
    touch(blob);
    Reply reply = changed(blob, 201);
    if (update) {
        reply.with("x-ms-content-crc64", crc64_text(request.body_crc));
    }
    return reply;
}

Reply Service::get_page_ranges(const Request& request, const Blob& blob) {
    if (blob.kind != BlobKind::page) {
        return {409, "InvalidBlobType"};
    }
    if (!request.parameter("prevsnapshot").empty()) {
        return {501, "APINotImplemented"};
    }
    const auto range = range_of(request);
    if (!range) {
        return {416, "InvalidRange"};
    }
    const Range asked = range->value_or(Range{0, UINT64_MAX});
    const auto most = blob::parse_decimal(request.parameter("maxresults")).value_or(10'000);
    const auto from = blob::parse_decimal(request.parameter("marker")).value_or(asked.first);
    const std::uint64_t end = asked.last >= blob.size ? blob.size : asked.last + 1;
    Reply reply = changed(blob, 200);
    reply.with("x-ms-blob-content-length", std::to_string(blob.size))
        .with("Content-Type", "application/xml");
    reply.text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>";
    std::uint64_t listed = 0;
    for (const auto& [offset, length] : blob.pages.ranges(from, end)) {
        if (listed++ == most) {
            reply.text += "<NextMarker>" + std::to_string(offset) + "</NextMarker>";
            break;
        }
        reply.text += "<PageRange><Start>" + std::to_string(offset) + "</Start><End>" +
                      std::to_string(offset + length - 1) + "</End></PageRange>";
    }
    reply.text += "</PageList>";
    return reply;
}

Reply Service::set_properties(const Request& request, Target target) {
    if (auto refused = refuse_write(request, target)) {
        return *refused;
    }
    Blob& blob = *target.blob;
    const std::string_view action = request.header("x-ms-sequence-number-action");
    const auto number = blob::parse_decimal(request.header("x-ms-blob-sequence-number"));
    if (!action.empty() && blob.kind != BlobKind::page) {
        return {409, "InvalidBlobType"};
    }
    if (action == "increment") {
        ++blob.sequence_number;
    } else if (action == "max" && number) {
        blob.sequence_number = std::max(blob.sequence_number, *number);
    } else if (action == "update" && number) {
        blob.sequence_number = *number;
    } else if (!action.empty()) {
        return {400, "InvalidHeaderValue"};
    }
    if (request.has("x-ms-blob-content-length")) {
        const auto size = blob::parse_decimal(request.header("x-ms-blob-content-length"));
        if (blob.kind != BlobKind::page || !size || *size % page_bytes != 0) {
            return {400, "InvalidHeaderValue"};
        }
        if (*size < blob.size) {
            blob.pages.clear(*size, blob.size - *size);
        }
        blob.size = *size;
    }
    touch(blob);
    return changed(blob, 200);
}

}  // namespace cw::fake_azure
