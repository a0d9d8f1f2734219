// The HTTP heads that open a replication connection, from both sides, and the door's answer.
#include "base/assert.h"
#include "ingest/http_gate.h"
#include "ingest/wire/http_head.h"

namespace {

using namespace cw;

void check_request(Bytes bytes) {
    const auto request = wire::parse_request(bytes);
    ingest::GateState state;
    state.identity = Identity{Role::machine, {}};
    const ingest::GateAnswer answer = ingest::answer_head(request, state);
    CW_ASSERT(answer.status >= 101 && !answer.bytes.empty());
    if (!request) {
        CW_ASSERT(answer.status == 400);
        return;
    }
    CW_ASSERT(request->path.starts_with('/') && request->headers.size() <= wire::http_headers_max);
    // Written again it is the same request.
    std::size_t length = request->method.size() + request->path.size() + 13;
    for (const wire::HttpHeader& header : request->headers) {
        length += header.name.size() + header.value.size() + 4;
    }
    if (length <= wire::http_head_bytes_max) {  // Blanks around values are not limited to one.
        const std::string text = wire::build_request(*request);
        const auto again = wire::parse_request(as_bytes(text));
        CW_ASSERT(again && wire::build_request(*again) == text);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (const auto end = wire::find_head_end(bytes); end && *end) {
        CW_ASSERT(**end <= size && **end <= wire::http_head_bytes_max);
        check_request(bytes.first(**end));
    }
    check_request(bytes);
    if (const auto response = wire::parse_response(bytes)) {
        CW_ASSERT(response->status >= 100 && response->status <= 599);
        CW_ASSERT(wire::retry_after_of(*response) <= 86'400);
        static_cast<void>(wire::check_upgrade_response(*response));
    }
    return 0;
}
