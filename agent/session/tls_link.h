// The real Link: TLS over TCP with the HTTP upgrade done.
//
// Records are sealed into one memory buffer of 256 KiB or more and then sent at once: a peer that
// gets 16 KiB at a time pays 40 % more CPU to receive it.
#pragma once

#include "agent/session/link.h"
#include "base/net.h"
#include "base/tls.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cw::agent {

struct TlsTarget {
    std::vector<HostPort> servers;  // Tried in turn.
    TlsFiles files;                 // Read at each attempt: renewed certificates take effect.
    std::string revoked_file = {};  // So is this list of servers' certificates; empty: none.
    int timeout_ms = 10'000;        // For connect, handshake and upgrade, each.
};

// Connects, shakes hands, checks that the peer is a process server or master target, upgrades.
// Blocking; for a thread of its own. Errors: see Connector::poll().
Result<std::unique_ptr<Link>> connect_tls(const TlsTarget& target, std::size_t server);

// Each attempt runs on a thread of its own; `wake` is called from it when the outcome is there.
std::unique_ptr<Connector> make_tls_connector(TlsTarget target, std::function<void()> wake);

}  // namespace cw::agent
