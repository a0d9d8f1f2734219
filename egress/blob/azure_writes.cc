// The calls that change the vault: put, remove, create.
#include "egress/blob/azure_call_parts.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/common.h"

namespace cw::blob {
namespace {

class PutCall final : public AzureCall {
public:
    PutCall(PutRequest request, Done<PutResult> done)
        : request_(std::move(request)), done_(std::move(done)) {}

    HttpRequest build(const AzureWire& wire) override {
        HttpRequest http{.method = "PUT", .path = wire.endpoint.object_path(request_.name)};
        http.headers.emplace_back("x-ms-blob-type", "BlockBlob");
        if (wire.crc64) {
            crc64_ = crc64_text(request_.crc64 ? *request_.crc64 : crc64_of(request_.body));
            http.headers.emplace_back("x-ms-content-crc64", crc64_);
        }
        if (request_.condition == PutCondition::if_absent) {
            http.headers.emplace_back("if-none-match", "*");
        } else if (request_.condition == PutCondition::if_match) {
            http.headers.emplace_back("if-match", quoted(request_.etag));
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

std::unique_ptr<AzureCall> make_remove_call(BlobName name, Done<Result<void>> done) {
    return std::make_unique<RemoveCall>(std::move(name), std::move(done));
}

std::unique_ptr<AzureCall> make_create_call(Done<Result<void>> done) {
    return std::make_unique<CreateCall>(Container::data, std::move(done));
}

}  // namespace cw::blob
