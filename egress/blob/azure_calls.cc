#include "egress/blob/azure_calls.h"

#include "base/checksum.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/common.h"

#include <algorithm>

namespace cw::blob {
namespace {

constexpr std::uint64_t range_crc_bytes_max = 4 << 20;  // The service's limit for range checksums.
constexpr std::uint64_t list_reply_bytes_max = 16 << 20;
constexpr std::uint64_t error_reply_bytes_max = 64 << 10;
constexpr std::string_view metadata_prefix = "x-ms-meta-";

std::string quoted(const std::string& etag) {
    return '"' + etag + '"';
}

std::string unquoted(std::string_view etag) {
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
        etag = etag.substr(1, etag.size() - 2);
    }
    return std::string(etag);
}

// The service writes a CRC-64 as base64 of its eight bytes, lowest first.
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

class PutCall final : public AzureCall {
public:
    PutCall(PutRequest request, Done<PutResult> done)
        : request_(std::move(request)), done_(std::move(done)) {}

    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = wire.endpoint.object_path(request_.name)};
        http.headers.emplace_back("x-ms-blob-type", "BlockBlob");
        if (wire.crc64) {
            std::uint64_t crc = 0;
            for (const Bytes part : request_.body) {
                crc = crc64nvme(part, crc);
            }
            crc64_ = crc64_text(crc);
            http.headers.emplace_back("x-ms-content-crc64", crc64_);
        }
        if (request_.condition == PutCondition::if_absent) {
            http.headers.emplace_back("if-none-match", "*");
        } else if (request_.condition == PutCondition::if_match) {
            http.headers.emplace_back("if-match", quoted(request_.etag));
        }
        if (!request_.lease_id.empty()) {
            http.headers.emplace_back("x-ms-lease-id", request_.lease_id);
        }
        for (const auto& [name, value] : request_.metadata) {
            http.headers.emplace_back(std::string(metadata_prefix) + name, value);
        }
        http.body = request_.body;
        return http;
    }

    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        done_(result_of(reply, now_s));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_({PutOutcome::refused, {}, std::move(error)}); }

private:
    PutResult result_of(const HttpReply& reply, std::int64_t now_s) const {
        const std::string what = "put " + to_string(request_.name);
        if (!answered(reply, 201)) {
            Judgement judgement = judge_failure(reply, what, now_s);
            return {judgement.in_doubt ? PutOutcome::unknown : PutOutcome::refused,
                    {},
                    std::move(judgement.error)};
        }
        const std::string etag = unquoted(header_of(reply.headers, "etag"));
        if (etag.empty()) {
            return unknown(what + ": created without an etag");
        }
        const std::string_view theirs = header_of(reply.headers, "x-ms-content-crc64");
        if (!crc64_.empty() && !theirs.empty() && theirs != crc64_) {
            // The object exists with other bytes than ours: its name is used up.
            return refused(Errc::object_corrupt, what + ": the service stored other bytes");
        }
        return stored(etag);
    }

    const PutRequest request_;
    const Done<PutResult> done_;
    std::string crc64_;
};

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

class RemoveCall final : public AzureCall {
public:
    RemoveCall(BlobName name, Done<Result<void>> done)
        : name_(std::move(name)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        return {.method = "DELETE", .path = wire.endpoint.object_path(name_)};
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        if (answered(reply, 202)) {
            done_({});
            return nullptr;
        }
        Error error = failure(reply, "remove " + to_string(name_), now_s);
        done_(error.code == Errc::blob_not_found ? Result<void>{}
                                                 : std::unexpected(std::move(error)));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const BlobName name_;
    const Done<Result<void>> done_;
};

class LeaseCall final : public AzureCall {
public:
    LeaseCall(LeaseRequest request, Done<Result<void>> done)
        : request_(std::move(request)), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = wire.endpoint.object_path(request_.name)};
        http.query = {{"comp", "lease"}};
        const auto header = [&http](const char* name, std::string value) {
            http.headers.emplace_back(name, std::move(value));
        };
        switch (request_.action) {
            case LeaseAction::acquire:
                header("x-ms-lease-action", "acquire");
                header("x-ms-lease-duration", std::to_string(request_.duration_s));
                header("x-ms-proposed-lease-id", request_.lease_id);
                break;
            case LeaseAction::renew:
                header("x-ms-lease-action", "renew");
                header("x-ms-lease-id", request_.lease_id);
                break;
            case LeaseAction::release:
                header("x-ms-lease-action", "release");
                header("x-ms-lease-id", request_.lease_id);
                break;
            case LeaseAction::break_:
                header("x-ms-lease-action", "break");
                header("x-ms-lease-break-period", "0");
                break;
        }
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const int success = request_.action == LeaseAction::acquire  ? 201
                            : request_.action == LeaseAction::break_ ? 202
                                                                     : 200;
        if (answered(reply, success)) {
            done_({});
            return nullptr;
        }
        Error error = failure(reply, "lease " + to_string(request_.name), now_s);
        const bool nothing_to_break =
            request_.action == LeaseAction::break_ && error.code == Errc::blob_lease_lost;
        done_(nothing_to_break ? Result<void>{} : std::unexpected(std::move(error)));
        return nullptr;
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const LeaseRequest request_;
    const Done<Result<void>> done_;
};

// The four containers one after the other.
class CreateCall final : public AzureCall {
public:
    CreateCall(Container container, Done<Result<void>> done)
        : container_(container), done_(std::move(done)) {}
    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = wire.endpoint.container_path(container_)};
        http.query = {{"restype", "container"}};
        return http;
    }
    std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) override {
        const bool there = reply.transport == Transport::answered && from_service(reply) &&
                           error_code_of(reply) == "ContainerAlreadyExists";
        if (!answered(reply, 201) && !there) {
            const std::string what = "create container " + std::string(name_of(container_));
            done_(std::unexpected(failure(reply, what, now_s)));
            return nullptr;
        }
        if (container_ == Container::control) {
            done_({});
            return nullptr;
        }
        const auto next = static_cast<Container>(static_cast<unsigned>(container_) + 1);
        return std::make_unique<CreateCall>(next, done_);
    }
    void fail_unsent(Error error) override { done_(std::unexpected(std::move(error))); }

private:
    const Container container_;
    const Done<Result<void>> done_;
};

}  // namespace

std::unique_ptr<AzureCall> make_put_call(PutRequest request, Done<PutResult> done) {
    return std::make_unique<PutCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_get_call(GetRequest request, Done<Result<GetResult>> done) {
    return std::make_unique<GetCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_head_call(BlobName name, std::string if_match,
                                          Done<Result<BlobProperties>> done) {
    return std::make_unique<HeadCall>(std::move(name), std::move(if_match), std::move(done));
}

std::unique_ptr<AzureCall> make_list_call(Container container, std::string prefix,
                                          std::string marker, Done<Result<ListPage>> done) {
    return std::make_unique<ListCall>(container, std::move(prefix), std::move(marker),
                                      std::move(done));
}

std::unique_ptr<AzureCall> make_remove_call(BlobName name, Done<Result<void>> done) {
    return std::make_unique<RemoveCall>(std::move(name), std::move(done));
}

std::unique_ptr<AzureCall> make_lease_call(LeaseRequest request, Done<Result<void>> done) {
    return std::make_unique<LeaseCall>(std::move(request), std::move(done));
}

std::unique_ptr<AzureCall> make_create_call(Done<Result<void>> done) {
    return std::make_unique<CreateCall>(Container::data, std::move(done));
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
