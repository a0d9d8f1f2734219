// Link: one upgraded connection to a server, as bytes. A seam: tests use a pair in memory.
// Thread-safety: none; the agent's loop.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <memory>
#include <optional>

namespace cw::agent {

class Link {
public:
    virtual ~Link() = default;
    // Whether write() may be called: what waits for the network is below the bound.
    [[nodiscard]] virtual bool writable() const noexcept = 0;
    // Takes all of `bytes` (at most 1 MiB); nothing is sent before flush().
    virtual Result<void> write(Bytes bytes) = 0;
    // Sends what the network takes now. Errors: connection_lost.
    virtual Result<void> flush() = 0;
    // What has arrived, at most out.size(); 0: nothing now. Errors: connection_lost.
    virtual Result<std::size_t> read(MutableBytes out) = 0;
    // To poll for reading, and for writing too while `wants_write`; -1 in tests.
    [[nodiscard]] virtual int fd() const noexcept = 0;
    [[nodiscard]] virtual bool wants_write() const noexcept = 0;
    [[nodiscard]] virtual std::string peer() const = 0;
};

// Makes links without blocking the loop.
class Connector {
public:
    virtual ~Connector() = default;
    // Begins an attempt; one at a time.
    virtual void begin() = 0;
    // The attempt's outcome, once; nullopt while it goes on. Errors: unreachable, tls_failed,
    // identity_refused, server_busy, version_unsupported …
    virtual std::optional<Result<std::unique_ptr<Link>>> poll() = 0;
    // Of the session over the newest link: it goes well, or its server has said that the machine is
    // another one's. Decides where the next attempt goes if there is a choice.
    virtual void served() {}
    virtual void sent_away() {}
};

}  // namespace cw::agent
