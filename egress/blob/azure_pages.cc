// The calls of page blobs: create, write, clear, size, ranges, read.
#include "base/assert.h"
#include "base/checksum.h"
#include "egress/blob/azure_call_parts.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/http_parse.h"
#include "egress/blob/page_blob.h"

#include <algorithm>

namespace cw::blob {
namespace {

constexpr std::uint64_t ranges_reply_bytes_max = 32 << 20;

std::string path_of(const AzureEndpoint& endpoint, const PageBlobName& blob) {
    return endpoint.account_path() + "/" + blob.container + "/" + blob.name;
}

PutResult result_of(const HttpReply& reply, const std::string& what, std::int64_t now_s) {
    if (answered(reply, 201)) {
        return {PutOutcome::stored, unquoted(header_of(reply.headers, "etag")), {}};
    }
    Judgement judgement = judge_failure(reply, what, now_s);
    return {judgement.in_doubt ? PutOutcome::unknown : PutOutcome::refused,
            {},
            std::move(judgement.error)};
}

class PageCreateCall final : public AzureCall {
public:
    PageCreateCall(PageCreate request, Done<PutResult> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = path_of(wire.endpoint, request_.blob)};
        http.headers.emplace_back("x-ms-blob-type", "PageBlob");
        http.headers.emplace_back("x-ms-blob-content-length", std::to_string(request_.bytes));
        http.headers.emplace_back("x-ms-blob-sequence-number", std::to_string(request_.sequence));
        if (!request_.replace) {
            http.headers.emplace_back("if-none-match", "*");
        }
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        done_(result_of(reply,
                        "create page blob " + request_.blob.container + "/" + request_.blob.name,
                        now_s));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_({PutOutcome::refused, {}, std::move(error)}); }

private:
    const PageCreate request_;
    const Done<PutResult> done_;
};

void put_range(HttpRequest& http, std::uint64_t offset, std::uint64_t length,
               std::optional<std::uint64_t> sequence) {
    http.headers.emplace_back("x-ms-range", "bytes=" + std::to_string(offset) + "-" +
                                                std::to_string(offset + length - 1));
    if (sequence) {
        http.headers.emplace_back("x-ms-if-sequence-number-eq", std::to_string(*sequence));
    }
}

class PageWriteCall final : public AzureCall {
public:
    PageWriteCall(PageWrite request, Done<PutResult> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = path_of(wire.endpoint, request_.blob)};
        http.query = {{"comp", "page"}};
        http.headers.emplace_back("x-ms-page-write", "update");
        put_range(http, request_.offset, request_.bytes.size(), request_.sequence);
        crc64_ = crc64_text(crc64nvme(request_.bytes, 0));
        if (wire.crc64) {
            http.headers.emplace_back("x-ms-content-crc64", crc64_);
        }
        http.body = {request_.bytes};
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const std::string what =
            "write pages of " + request_.blob.container + "/" + request_.blob.name;
        PutResult result = result_of(reply, what, now_s);
        // The service says what it has stored, also where no checksum was sent with the bytes.
        const std::string_view theirs = header_of(reply.headers, "x-ms-content-crc64");
        if (result.outcome == PutOutcome::stored && !theirs.empty() && theirs != crc64_) {
            result = {PutOutcome::unknown,
                      {},
                      Error{Errc::blob_checksum, what + ": the service stored other bytes"}};
        }
        done_(std::move(result));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_({PutOutcome::refused, {}, std::move(error)}); }

private:
    const PageWrite request_;
    std::string crc64_;
    const Done<PutResult> done_;
};

class PageClearCall final : public AzureCall {
public:
    PageClearCall(PageClear request, Done<PutResult> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = path_of(wire.endpoint, request_.blob)};
        http.query = {{"comp", "page"}};
        http.headers.emplace_back("x-ms-page-write", "clear");
        put_range(http, request_.offset, request_.length, request_.sequence);
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        done_(result_of(
            reply, "clear pages of " + request_.blob.container + "/" + request_.blob.name, now_s));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_({PutOutcome::refused, {}, std::move(error)}); }

private:
    const PageClear request_;
    const Done<PutResult> done_;
};

class PageSizeCall final : public AzureCall {
public:
    PageSizeCall(PageBlobName blob, Done<Result<std::uint64_t>> done)
        : blob_(std::move(blob)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        return {.method = "HEAD", .path = path_of(wire.endpoint, blob_)};
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const std::string what = "size of " + blob_.container + "/" + blob_.name;
        const auto size = parse_decimal(header_of(reply.headers, "content-length"));
        if (!answered(reply, 200)) {
            done_(std::unexpected(failure(reply, what, now_s)));
        } else if (!size || header_of(reply.headers, "x-ms-blob-type") != "PageBlob") {
            done_(fail(Errc::blob_rejected, what + ": it is no page blob"));
        } else {
            done_(*size);
        }
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const PageBlobName blob_;
    const Done<Result<std::uint64_t>> done_;
};

class PageRangesCall final : public AzureCall {
public:
    PageRangesCall(PageRangesRequest request, Done<Result<PageRanges>> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "GET", .path = path_of(wire.endpoint, request_.blob)};
        http.query = {{"comp", "pagelist"}};
        if (!request_.marker.empty()) {
            http.query.emplace_back("marker", request_.marker);
        }
        put_range(http, request_.offset, request_.length, std::nullopt);
        http.reply_bytes_max = ranges_reply_bytes_max;
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        done_(
            answered(reply, 200)
                ? parse_page_list(reply.body, request_.offset, request_.length)
                : std::unexpected(failure(
                      reply, "page ranges of " + request_.blob.container + "/" + request_.blob.name,
                      now_s)));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const PageRangesRequest request_;
    const Done<Result<PageRanges>> done_;
};

class PageReadCall final : public AzureCall {
public:
    PageReadCall(PageRead request, Done<Result<ByteVector>> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "GET", .path = path_of(wire.endpoint, request_.blob)};
        put_range(http, request_.offset, request_.length, std::nullopt);
        if (wire.crc64) {
            http.headers.emplace_back("x-ms-range-get-content-crc64", "true");
        }
        http.reply_bytes_max = page_write_bytes_max;
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const std::string what =
            "read pages of " + request_.blob.container + "/" + request_.blob.name;
        const std::string_view crc = header_of(reply.headers, "x-ms-content-crc64");
        if (!answered(reply, 206)) {
            done_(std::unexpected(failure(reply, what, now_s)));
        } else if (reply.body.size() != request_.length) {
            done_(fail(Errc::blob_unavailable, what + ": not the range that was asked for"));
        } else if (!crc.empty() && crc != crc64_text(crc64nvme(reply.body))) {
            done_(fail(Errc::blob_checksum, what));
        } else {
            done_(std::move(reply.body));
        }
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const PageRead request_;
    const Done<Result<ByteVector>> done_;
};

}  // namespace

Result<PageBlobName> parse_page_blob_name(std::string_view text) {
    const auto slash = text.find('/');
    PageBlobName out{std::string(text.substr(0, slash)),
                     slash == std::string_view::npos ? "" : std::string(text.substr(slash + 1))};
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    };
    if (out.container.size() < 3 || out.container.size() > 63 ||
        !std::ranges::all_of(out.container, plain) || !check_name({Container::data, out.name})) {
        return fail(Errc::usage,
                    "a page blob is CONTAINER/NAME of lower-case letters, digits, '.', '-', '/'");
    }
    return out;
}

std::unique_ptr<AzureCall> make_page_create_call(PageCreate request, Done<PutResult> done) {
    CW_ASSERT(request.bytes % page_bytes == 0);
    return std::make_unique<PageCreateCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_page_write_call(PageWrite request, Done<PutResult> done) {
    CW_ASSERT(!request.bytes.empty() && request.bytes.size() <= page_write_bytes_max &&
              request.bytes.size() % page_bytes == 0 && request.offset % page_bytes == 0);
    return std::make_unique<PageWriteCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_page_clear_call(PageClear request, Done<PutResult> done) {
    CW_ASSERT(request.length > 0 && request.length % page_bytes == 0 &&
              request.offset % page_bytes == 0);
    return std::make_unique<PageClearCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_page_size_call(PageBlobName blob,
                                               Done<Result<std::uint64_t>> done) {
    return std::make_unique<PageSizeCall>(std::move(blob), std::move(done));
}

std::unique_ptr<AzureCall> make_page_ranges_call(PageRangesRequest request,
                                                 Done<Result<PageRanges>> done) {
    CW_ASSERT(request.length > 0 && request.length <= page_span_bytes_max &&
              request.length % page_bytes == 0 && request.offset % page_bytes == 0);
    return std::make_unique<PageRangesCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_page_read_call(PageRead request, Done<Result<ByteVector>> done) {
    CW_ASSERT(request.length > 0 && request.length <= page_write_bytes_max);
    return std::make_unique<PageReadCall>(std::move(request), std::move(done));
}

}  // namespace cw::blob
