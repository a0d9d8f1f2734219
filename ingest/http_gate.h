// HttpGate: what the listener answers to an HTTP head. A pure decision, so that the whole matrix of
// identity, path and load is tested without a socket.
#pragma once

#include "base/error.h"
#include "base/tls.h"
#include "ingest/wire/http_head.h"

#include <cstdint>
#include <string>

namespace cw::ingest {

// What the server knows about itself and the peer at this moment.
struct GateState {
    Result<Identity> identity = fail(Errc::identity_refused);
    bool replication = true;  // The connection was made for it (ALPN), not only for a probe.
    bool draining = false;
    bool full = false;       // At the connection limit.
    bool clashing = false;   // Two agents share the identity.
    bool too_often = false;  // This identity has come too often lately.
    std::uint32_t retry_after_s = 15;
};

struct GateAnswer {
    int status = 0;     // 101: go on with frames
    std::string bytes;  // To be sent as it is; after anything but 101 the connection closes.
};

// `request` is what parse_request() made of the head.
GateAnswer answer_head(const Result<wire::HttpRequest>& request, const GateState& state);

}  // namespace cw::ingest
