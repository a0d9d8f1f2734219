#include "tests/ingest/test_client.h"

#include <array>
#include <cerrno>

#include <openssl/err.h>
#include <sys/socket.h>

namespace cw::test {
namespace {

constexpr int patience_ms = 10'000;

// Waits for what SSL wants; an error when it wants nothing more or time is up.
Result<void> wait_ssl(SSL* ssl, int fd, int result, const char* doing) {
    const int why = SSL_get_error(ssl, result);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        if (why == SSL_ERROR_ZERO_RETURN || why == SSL_ERROR_SYSCALL) {
            ERR_clear_error();
            return fail(Errc::connection_lost, doing);
        }
        return std::unexpected(tls_error(doing));
    }
    CW_TRY_ASSIGN(const bool ready, wait_fd(fd, why == SSL_ERROR_WANT_WRITE, patience_ms));
    return ready ? Result<void>{} : fail(Errc::unreachable, doing);
}

}  // namespace

Result<TestClient> TestClient::connect(std::uint16_t port, SSL_CTX* context) {
    TestClient client;
    CW_TRY_ASSIGN(client.socket_, connect_tcp({"127.0.0.1", port}, patience_ms));
    if (context != nullptr) {
        client.ssl_.reset(SSL_new(context));
        CW_ASSERT(client.ssl_ && SSL_set_fd(client.ssl_.get(), client.socket_.get()) == 1);
        SSL_set_connect_state(client.ssl_.get());
    }
    return client;
}

Result<TestClient> TestClient::replicate(std::uint16_t port, const TlsFiles& files) {
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::client(files));
    CW_TRY_ASSIGN(TestClient client, connect(port, context.get()));
    CW_TRY(client.handshake());
    CW_TRY(client.upgrade());
    return client;
}

Result<void> TestClient::handshake() {
    while (true) {
        ERR_clear_error();
        const int result = SSL_do_handshake(ssl_.get());
        if (result == 1) {
            return {};
        }
        CW_TRY(wait_ssl(ssl_.get(), fd(), result, "handshake"));
    }
}

Result<wire::HttpResponse> TestClient::request(std::string_view head) {
    CW_TRY(send(as_bytes(head)));
    while (true) {
        CW_TRY_ASSIGN(const auto end, wire::find_head_end(input_));
        if (end) {
            CW_TRY_ASSIGN(auto response, wire::parse_response(Bytes(input_).first(*end)));
            input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(*end));
            return response;
        }
        CW_TRY(read_some());
    }
}

Result<void> TestClient::upgrade() {
    CW_TRY_ASSIGN(const auto response, request(wire::build_upgrade_request("localhost")));
    return wire::check_upgrade_response(response);
}

Result<wire::Welcome> TestClient::hello(const wire::Hello& message) {
    CW_TRY(send(message_frame(wire::FrameType::hello, SessionId{}, message)));
    CW_TRY_ASSIGN(const OutFrame frame, receive());
    if (frame.header.type == wire::FrameType::error) {
        const auto error = frame.as<wire::ErrorMessage>();
        return fail(static_cast<Errc>(error.code), error.detail);
    }
    CW_ASSERT(frame.header.type == wire::FrameType::welcome);
    auto welcome = frame.as<wire::Welcome>();
    session_ = welcome.session;
    return welcome;
}

Result<void> TestClient::send(Bytes bytes) {
    while (!bytes.empty()) {
        ERR_clear_error();
        std::size_t wrote = 0;
        const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &wrote);
        if (result == 1) {
            bytes = bytes.subspan(wrote);
        } else {
            CW_TRY(wait_ssl(ssl_.get(), fd(), result, "write"));
        }
    }
    return {};
}

Result<void> TestClient::read_some() {
    std::array<std::byte, 16 * kib> buffer;
    while (true) {
        ERR_clear_error();
        std::size_t got = 0;
        const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got);
        if (result == 1) {
            input_.insert(input_.end(), buffer.begin(),
                          buffer.begin() + static_cast<std::ptrdiff_t>(got));
            return {};
        }
        CW_TRY(wait_ssl(ssl_.get(), fd(), result, "read"));
    }
}

Result<OutFrame> TestClient::receive() {
    while (true) {
        if (input_.size() >= wire::frame_header_bytes) {
            CW_TRY_ASSIGN(const auto header,
                          wire::decode_frame_header(Bytes(input_).first(wire::frame_header_bytes)));
            const std::size_t whole = wire::frame_header_bytes + header.payload_bytes;
            if (input_.size() >= whole) {
                const auto end = input_.begin() + static_cast<std::ptrdiff_t>(whole);
                OutFrame frame{header, ByteVector(input_.begin() + wire::frame_header_bytes, end)};
                input_.erase(input_.begin(), end);
                CW_TRY(wire::check_table(header, frame.payload));
                return frame;
            }
        }
        CW_TRY(read_some());
    }
}

Result<OutFrame> TestClient::receive(wire::FrameType type) {
    for (int i = 0; i < 1000; ++i) {
        CW_TRY_ASSIGN(OutFrame frame, receive());
        if (frame.header.type == type) {
            return frame;
        }
        if (frame.header.type == wire::FrameType::goodbye) {
            return fail(Errc::connection_lost, server_said_goodbye);
        }
        if (frame.header.type == wire::FrameType::error) {
            const auto error = frame.as<wire::ErrorMessage>();
            return fail(static_cast<Errc>(error.code), error.detail);
        }
    }
    return fail(Errc::unreachable, "no such frame");
}

Result<void> TestClient::send_plain(Bytes bytes) {
    const ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(bytes.size())) {
        return fail_errno(Errc::connection_lost, "send", errno);
    }
    return {};
}

bool TestClient::wait_closed() {
    std::array<std::byte, 4096> buffer;
    for (int i = 0; i < 1000; ++i) {
        const auto ready = wait_fd(fd(), false, patience_ms);
        if (!ready || !*ready) {
            return false;
        }
        const ssize_t got = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            return true;
        }
    }
    return false;
}

}  // namespace cw::test
