// A machine with one disk that writes as fast as the server lets it, or at a steady rate: speaks
// the replication protocol itself, so that nothing but the server is measured. Runs in a process of
// its own.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/net.h"
#include "base/tls.h"

#include <string>
#include <vector>

namespace cw::bench {

struct StreamOptions {
    HostPort server;
    TlsFiles files;  // A machine's.
    std::string name;
    double bytes_per_s = 0;    // 0: as fast as the server lets it.
    int timeout_ms = 600'000;  // For everything.
};

struct StreamResult {
    std::vector<double> ack_ms;  // Per record of 1 MiB: from sent to SPOOLED.
    double spooled_s = 0;        // From the first record to the last SPOOLED.
    double committed_s = 0;      // … until the point after the last record was COMMITTED.
};

// Writes `data` (a multiple of 1 MiB) to a fresh disk of that size in order, then makes a point and
// waits until it is committed.
Result<StreamResult> run_stream(const StreamOptions& options, Bytes data);

}  // namespace cw::bench
