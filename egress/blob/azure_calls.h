// The operations of the contract as Blob service requests: how each is built and how its reply is
// judged. A call sends nothing itself and can be built again, for the one retry with a new token.
#pragma once

#include "egress/blob/azure_endpoint.h"
#include "egress/blob/http_client.h"

namespace cw::blob {

// What the calls need to know of the service; the same for all stores of a factory.
struct AzureWire {
    AzureEndpoint endpoint;
    std::string api_version;
    bool crc64 = true;  // Emulators refuse x-ms-content-crc64.
    std::size_t page_entries = 1000;
};

class AzureCall {
public:
    virtual ~AzureCall() = default;
    // Without date, version, id and credential.
    virtual HttpRequest build(const AzureWire& wire) = 0;
    // Runs the callback, or returns the call that must follow before there is an answer.
    // `now_s`: the time that requests are dated with.
    virtual std::unique_ptr<AzureCall> judge(HttpReply& reply, std::int64_t now_s) = 0;
    // The request was not sent.
    virtual void fail_unsent(Error error) = 0;
};

// The requests have passed the checks of common.h.
std::unique_ptr<AzureCall> make_put_call(PutRequest request, Done<PutResult> done);
std::unique_ptr<AzureCall> make_get_call(GetRequest request, Done<Result<GetResult>> done);
std::unique_ptr<AzureCall> make_head_call(BlobName name, std::string if_match,
                                          Done<Result<BlobProperties>> done);
std::unique_ptr<AzureCall> make_list_call(Container container, std::string prefix,
                                          std::string marker, Done<Result<ListPage>> done);
std::unique_ptr<AzureCall> make_remove_call(BlobName name, Done<Result<void>> done);
std::unique_ptr<AzureCall> make_create_call(Done<Result<void>> done);

// Size, etag and metadata of a GET or HEAD reply. Errors: blob_unavailable (malformed).
Result<BlobProperties> parse_properties(const HttpReply& reply);

}  // namespace cw::blob
