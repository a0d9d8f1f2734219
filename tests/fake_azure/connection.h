// One accepted connection, plain or TLS, with blocking reads and writes.
#pragma once

#include "base/bytes.h"
#include "base/net.h"

#include <memory>
#include <mutex>
#include <span>

#include <openssl/types.h>

namespace cw::fake_azure {

// Used by one thread; shut_down() may be called from another to end its blocking calls.
class Connection {
public:
    // `context` null: plain. Takes the socket.
    Connection(Fd socket, SSL_CTX* context);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // TLS handshake; true for plain connections.
    bool handshake();
    // Bytes read, 0 at the end or on an error.
    std::size_t read(std::byte* out, std::size_t size);
    bool write(Bytes bytes);
    [[nodiscard]] bool tls() const noexcept { return ssl_ != nullptr; }
    // Closes with a reset instead of a normal end.
    void reset();
    void shut_down();

private:
    std::mutex mutex_;  // Between reset() and shut_down().
    Fd socket_;
    struct SslFree {
        void operator()(SSL* ssl) const noexcept;
    };
    std::unique_ptr<SSL, SslFree> ssl_;
};

}  // namespace cw::fake_azure
