// What ingest is told by whoever assembles the server. No setting is read anywhere else.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/net.h"
#include "base/tls.h"
#include "ingest/wire/messages.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace cw::ingest {

// Whether this machine may replicate with what it said. Called on reactor threads: thread-safe and
// quick. Errors become ERROR frames: identity_refused, authz_denied, server_busy …
using Authorise = std::function<Result<void>(const Identity&, const wire::Hello&)>;

// Times are nanoseconds.
struct Limits {
    std::int64_t handshake_ns = 10 * ns_per_s;
    std::int64_t head_ns = 10 * ns_per_s;   // The HTTP head, and again HELLO.
    std::int64_t open_ns = 30 * ns_per_s;   // For the control's answer to HELLO.
    std::int64_t ping_ns = 20 * ns_per_s;   // Without a byte from the peer.
    std::int64_t idle_ns = 60 * ns_per_s;   // Without a byte from the peer: closed.
    std::int64_t drain_ns = 10 * ns_per_s;  // For acknowledgements before a draining server closes.
    std::int64_t rate_grace_ns = 10 * ns_per_s;
    std::uint64_t rate_bytes_min = 64 * kib;  // Per second, within a frame or unsent output.
    std::size_t connections = 2048;           // Per reactor; beyond: 503, far beyond: reset.
    double handshakes_per_s = 200;            // Per reactor; beyond: left in the accept queue.
    double attempts_burst = 30;               // Of one machine; one more per second.
    std::uint32_t retry_after_s = 15;
};

struct ListenerOptions {
    HostPort listen{"", 9443};
    std::size_t reactors = 1;
    TlsFiles tls{};
    Role role = Role::process_server;  // What our own certificate must say.
    Limits limits{};
    bool keeps_resync_orders = false;  // Agents may leave it to the server when to catch up.
    bool use_uring = true;             // Otherwise, and where the kernel refuses, poll(2).
};

}  // namespace cw::ingest
