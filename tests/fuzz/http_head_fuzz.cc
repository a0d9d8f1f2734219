// The HTTP heads that open a replication connection, from both sides, and the door's answer.
#include "base/assert.h"
#include "ingest/http_gate.h"
#include "ingest/wire/http_head.h"

namespace {

using namespace cw;

// An answer is a head like any other, and says to a client what the gate meant.
void check_answer(const ingest::GateAnswer& answer, std::uint32_t retry_after_s) {
    const auto end = wire::find_head_end(as_bytes(answer.bytes));
    CW_ASSERT(end && *end);
    const auto response = wire::parse_response(as_bytes(answer.bytes).first(**end));
    CW_ASSERT(response && response->status == answer.status);
    const auto agreed = wire::check_upgrade_response(*response);
    CW_ASSERT(agreed.has_value() == (answer.status == 101));
    const bool later = answer.status == 429 || answer.status == 503;
    CW_ASSERT(!later || agreed.error().code == Errc::server_busy);
    CW_ASSERT(wire::retry_after_of(*response) == (later ? retry_after_s : 0));
}

// Whatever the request: who asks and how things stand decides in this order.
void check_gate(const Result<wire::HttpRequest>& request) {
    ingest::GateState state;
    state.retry_after_s = 7;
    const auto status_in = [&](auto change) {
        ingest::GateState changed = state;
        change(changed);
        const ingest::GateAnswer answer = ingest::answer_head(request, changed);
        check_answer(answer, changed.retry_after_s);
        return answer.status;
    };
    using Gate = ingest::GateState;
    CW_ASSERT(status_in([](Gate&) {}) == (request ? 401 : 400));
    state.identity = Identity{Role::machine, {}};
    const int open = status_in([](Gate&) {});
    const bool welcome = open == 101;
    CW_ASSERT(!welcome || request);
    CW_ASSERT(status_in([](Gate& gate) { gate.clashing = true; }) == (welcome ? 409 : open));
    CW_ASSERT(status_in([](Gate& gate) { gate.draining = true; }) == (welcome ? 503 : open));
    CW_ASSERT(status_in([](Gate& gate) { gate.full = true; }) == (welcome ? 503 : open));
    CW_ASSERT(status_in([](Gate& gate) { gate.too_often = true; }) == (welcome ? 429 : open));
    CW_ASSERT(status_in([](Gate& gate) { gate.replication = false; }) == (welcome ? 426 : open));
    const int other = status_in([](Gate& gate) { gate.identity = Identity{Role::operator_, {}}; });
    CW_ASSERT(other == (welcome || open == 426 ? 403 : open));
}

// Our own request, to whatever host it is.
void check_own_request(std::string_view text) {
    std::string host(text.substr(0, 200));
    std::erase_if(host, [](char c) { return c <= ' ' || c >= 0x7f; });
    const auto request = wire::parse_request(as_bytes(wire::build_upgrade_request(host)));
    CW_ASSERT(request && *wire::find_header(request->headers, "host") == host);
    ingest::GateState state;
    state.identity = Identity{Role::machine, {}};
    CW_ASSERT(ingest::answer_head(request, state).status == 101);
}

void check_request(Bytes bytes) {
    const auto request = wire::parse_request(bytes);
    check_gate(request);
    if (!request) {
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
    check_own_request(as_text(bytes));
    if (const auto response = wire::parse_response(bytes)) {
        CW_ASSERT(response->status >= 100 && response->status <= 599);
        CW_ASSERT(wire::retry_after_of(*response) <= 86'400);
        const auto agreed = wire::check_upgrade_response(*response);
        CW_ASSERT(!agreed || response->status == 101);
    }
    return 0;
}
