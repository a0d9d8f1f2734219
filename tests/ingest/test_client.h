// A small blocking replication client for tests: TLS, upgrade, frames. Every wait is bounded.
#pragma once

#include "base/net.h"
#include "base/tls.h"
#include "ingest/wire/http_head.h"
#include "tests/ingest/agent_frames.h"

#include <memory>
#include <optional>
#include <string>

#include <openssl/ssl.h>

namespace cw::test {

inline constexpr const char* server_said_goodbye = "the server said goodbye";

class TestClient {
public:
    // Connects TCP to loopback; `context` may be null for a client that never speaks TLS.
    static Result<TestClient> connect(std::uint16_t port, SSL_CTX* context);
    // Connect, handshake, upgrade.
    static Result<TestClient> replicate(std::uint16_t port, const TlsFiles& files);

    // TLS 1.3 tells a client of the server's refusal only with its first read: see request().
    Result<void> handshake();
    // Sends `head` and returns the answer's head and body. Errors: connection_lost, tls_failed.
    Result<wire::HttpResponse> request(std::string_view head);
    Result<void> upgrade();
    // HELLO, and the WELCOME that answers it.
    Result<wire::Welcome> hello(const wire::Hello& message);

    Result<void> send(Bytes bytes);
    // The next frame. Errors: connection_lost (closed), unreachable (nothing for 10 s).
    Result<OutFrame> receive();
    // Skips other frames until one of `type`, at most a thousand. Errors: also what an ERROR says,
    // and connection_lost with server_said_goodbye.
    Result<OutFrame> receive(wire::FrameType type);
    // Raw bytes below TLS.
    Result<void> send_plain(Bytes bytes);
    // Waits until the server has closed; false after 10 s.
    bool wait_closed();

    [[nodiscard]] SessionId session() const noexcept { return session_; }
    [[nodiscard]] Place at(std::uint64_t seq, std::uint16_t slot = 0) const {
        return {.session = session_, .slot = slot, .seq = Seq{seq}};
    }
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    [[nodiscard]] SSL* ssl() const noexcept { return ssl_.get(); }

private:
    TestClient() : ssl_(nullptr, &SSL_free) {}
    Result<void> read_some();

    Fd socket_;
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
    ByteVector input_;
    SessionId session_{};
};

}  // namespace cw::test
