#include "tests/fake_azure/connection.h"

#include <algorithm>
#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace cw::fake_azure {

void Connection::SslFree::operator()(SSL* ssl) const noexcept {
    SSL_free(ssl);
}

Connection::Connection(Fd socket, SSL_CTX* context) : socket_(std::move(socket)) {
    const int flags = ::fcntl(socket_.get(), F_GETFL);
    ::fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK);
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context != nullptr) {
        ssl_.reset(SSL_new(context));
        SSL_set_fd(ssl_.get(), socket_.get());
    }
}

Connection::~Connection() = default;

bool Connection::handshake() {
    return !ssl_ || SSL_accept(ssl_.get()) == 1;
}

std::size_t Connection::read(std::byte* out, std::size_t size) {
    if (ssl_) {
        ERR_clear_error();
        const int n =
            SSL_read(ssl_.get(), out, static_cast<int>(std::min<std::size_t>(size, INT_MAX)));
        return n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    for (;;) {
        const ssize_t n = ::recv(socket_.get(), out, size, 0);
        if (n >= 0 || errno != EINTR) {
            return n > 0 ? static_cast<std::size_t>(n) : 0;
        }
    }
}

bool Connection::write(Bytes bytes) {
    while (!bytes.empty()) {
        ssize_t n = 0;
        if (ssl_) {
            ERR_clear_error();
            n = SSL_write(ssl_.get(), bytes.data(),
                          static_cast<int>(std::min<std::size_t>(bytes.size(), INT_MAX)));
        } else {
            n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) {
                continue;
            }
        }
        if (n <= 0) {
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

void Connection::reset() {
    const std::lock_guard guard(mutex_);
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ssl_.reset();
    socket_.reset();
}

void Connection::shut_down() {
    const std::lock_guard guard(mutex_);
    if (socket_.valid()) {
        ::shutdown(socket_.get(), SHUT_RDWR);
    }
}

}  // namespace cw::fake_azure
