// BarrierStream: messages of a group over one mutually authenticated TLS connection, in either
// direction. Both ends are machines: their certificates are made for clients, and are taken for the
// listening end too, because who may listen is decided by name (GroupPort).
// Passive: nothing here waits. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/group/barrier_message.h"
#include "base/net.h"
#include "base/tls.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::agent {

class BarrierStream {
public:
    enum class End : std::uint8_t { connecting, listening };
    // `socket`: connected, not blocking. Errors: tls_failed (our own files).
    static Result<std::unique_ptr<BarrierStream>> open(Fd socket, End end, const TlsFiles& files);
    ~BarrierStream();

    // Goes on with the handshake and with what waits to be sent, and takes what has come.
    // Errors: tls_failed, certificate_expired, certificate_revoked, identity_refused,
    // connection_lost, frame_malformed; then the stream is over.
    Result<void> step();
    // Once the handshake is done: who the other end is.
    [[nodiscard]] const std::optional<Identity>& peer() const noexcept { return peer_; }
    // What came, oldest first.
    Result<std::optional<BarrierMessage>> next();
    void send(const BarrierMessage& message);
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    [[nodiscard]] bool wants_write() const noexcept { return wants_write_; }
    [[nodiscard]] const std::string& address() const noexcept { return address_; }

private:
    struct Tls;
    BarrierStream(Fd socket, std::unique_ptr<Tls> tls);
    Result<void> shake_hands();
    Result<void> write_some();
    Result<void> read_some();

    Fd socket_;
    std::string address_;
    std::unique_ptr<Tls> tls_;
    std::optional<Identity> peer_;
    ByteVector in_, out_;
    bool wants_write_ = false;
};

}  // namespace cw::agent
