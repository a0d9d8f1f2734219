// The calls that only look: get, head, list.
#include "base/checksum.h"
#include "egress/blob/azure_call_parts.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/common.h"

#include <algorithm>

namespace cw::blob {
namespace {

constexpr std::uint64_t range_crc_bytes_max = 4 << 20;  // The service's limit for range checksums.
constexpr std::uint64_t list_reply_bytes_max = 16 << 20;
constexpr std::uint64_t error_reply_bytes_max = 64 << 10;

class HeadCall final : public AzureCall {
public:
    HeadCall(BlobName name, std::string if_match, Done<Result<BlobProperties>> done)
        : name_(std::move(name)), if_match_(std::move(if_match)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "HEAD", .path = wire.endpoint.object_path(name_)};
        if (!if_match_.empty()) {
            http.headers.emplace_back("if-match", quoted(if_match_));
        }
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        if (!answered(reply, 200)) {
            done_(std::unexpected(failure(reply, "head " + to_string(name_), now_s)));
            return nullptr;
        }
        auto properties = parse_properties(reply);
        if (properties) {
            const auto size = parse_decimal(header_of(reply.headers, "content-length"));
            if (!size) {
                properties = fail(Errc::blob_unavailable, to_string(name_) + ": no length");
            } else {
                properties->size = *size;
            }
        }
        done_(std::move(properties));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const BlobName name_;
    const std::string if_match_;
    const Done<Result<BlobProperties>> done_;
};

class GetCall final : public AzureCall {
public:
    GetCall(GetRequest request, Done<Result<GetResult>> done)
        : request_(std::move(request)),
          done_(std::move(done)),
          length_(request_.length == 0 ? get_bytes_max : request_.length) {}

    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "GET", .path = wire.endpoint.object_path(request_.name)};
        http.headers.emplace_back("x-ms-range", "bytes=" + std::to_string(request_.offset) + "-" +
                                                    std::to_string(request_.offset + length_ - 1));
        if (wire.crc64 && length_ <= range_crc_bytes_max) {
            http.headers.emplace_back("x-ms-range-get-content-crc64", "true");
        }
        if (!request_.if_match.empty()) {
            http.headers.emplace_back("if-match", quoted(request_.if_match));
        }
        http.reply_bytes_max = std::max(length_, error_reply_bytes_max);
        return http;
    }

    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        // A range at or behind the end (Azurite says 206 and sends nothing): there are no bytes to
        // read, but the properties are owed, and they tell whether that is so.
        if (answered(reply, 416) || (answered(reply, 206) && reply.body.empty())) {
            return make_head_call(
                request_.name, request_.if_match,
                [done = done_, offset = request_.offset](Result<BlobProperties> properties) {
                    if (!properties) {
                        return done(std::unexpected(std::move(properties).error()));
                    }
                    if (properties->size > offset) {
                        return done(fail(Errc::blob_unavailable, "no bytes of an existing range"));
                    }
                    done(GetResult{{}, std::move(*properties)});
                });
        }
        done_(answered(reply, 206)
                  ? result_of(reply)
                  : std::unexpected(failure(reply, "get " + to_string(request_.name), now_s)));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    Result<GetResult> result_of(HttpReply& reply) const {
        const std::string what = "get " + to_string(request_.name);
        const auto range = parse_content_range(header_of(reply.headers, "content-range"));
        if (!range || range->first != request_.offset ||
            range->last - range->first + 1 != reply.body.size() ||
            (reply.body.size() != length_ && range->last + 1 != range->size)) {
            return fail(Errc::blob_unavailable, what + ": not the range that was asked for");
        }
        const std::string_view crc = header_of(reply.headers, "x-ms-content-crc64");
        if (!crc.empty() && length_ <= range_crc_bytes_max &&
            crc != crc64_text(crc64nvme(reply.body))) {
            return fail(Errc::blob_checksum, what);
        }
        CW_TRY_ASSIGN(BlobProperties properties, parse_properties(reply));
        properties.size = range->size;
        return GetResult{std::move(reply.body), std::move(properties)};
    }

    const GetRequest request_;
    const Done<Result<GetResult>> done_;
    const std::uint64_t length_;
};

class ListCall final : public AzureCall {
public:
    ListCall(Container container, std::string prefix, std::string marker,
             Done<Result<ListPage>> done)
        : container_(container),
          prefix_(std::move(prefix)),
          marker_(std::move(marker)),
          done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "GET", .path = wire.endpoint.container_path(container_)};
        http.query = {{"restype", "container"},
                      {"comp", "list"},
                      {"maxresults", std::to_string(wire.page_entries)}};
        if (!prefix_.empty()) {
            http.query.emplace_back("prefix", prefix_);
        }
        if (!marker_.empty()) {
            http.query.emplace_back("marker", marker_);
        }
        http.reply_bytes_max = list_reply_bytes_max;
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const std::string what = "list " + std::string(name_of(container_));
        done_(answered(reply, 200) ? parse_list(reply.body)
                                   : std::unexpected(failure(reply, what, now_s)));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const Container container_;
    const std::string prefix_, marker_;
    const Done<Result<ListPage>> done_;
};

}  // namespace

std::unique_ptr<AzureCall> make_head_call(BlobName name, std::string if_match,
                                          Done<Result<BlobProperties>> done) {
    return std::make_unique<HeadCall>(std::move(name), std::move(if_match), std::move(done));
}

std::unique_ptr<AzureCall> make_get_call(GetRequest request, Done<Result<GetResult>> done) {
    return std::make_unique<GetCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_list_call(Container container, std::string prefix,
                                          std::string marker, Done<Result<ListPage>> done) {
    return std::make_unique<ListCall>(container, std::move(prefix), std::move(marker),
                                      std::move(done));
}

}  // namespace cw::blob
