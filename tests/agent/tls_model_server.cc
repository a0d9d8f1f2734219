#include "tests/agent/tls_model_server.h"

#include "base/clock.h"
#include "base/net.h"
#include "base/random.h"
#include "ingest/wire/http_head.h"

#include <csignal>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

namespace cw::agent::test {
namespace {

struct FreeSsl {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

bool write_all(SSL* ssl, Bytes bytes) {
    return bytes.empty() || SSL_write(ssl, bytes.data(), static_cast<int>(bytes.size())) > 0;
}

}  // namespace

TlsModelServer::TlsModelServer(const std::string& directory, const char* names)
    : directory_(directory) {
    ::signal(SIGPIPE, SIG_IGN);  // Agents are killed while they are written to.
    const auto random = make_seeded_random(99);
    EXPECT_TRUE(create_ca(directory_, "test", 3600));
    const auto issue = [&](Role role, const char* name, const char* hosts) {
        EXPECT_TRUE(issue_certificate(directory_,
                                      {{role, make_uuid_bytes(*random)}, name, hosts, 3600},
                                      directory_ + "/" + name));
    };
    issue(Role::process_server, "server", names);
    issue(Role::machine, "machine", "");
    listener_ = listen_tcp({"127.0.0.1", 0}).value();
    port_ = local_port(listener_).value();
    thread_ = std::thread([this] { loop(); });
}

TlsModelServer::~TlsModelServer() {
    stop_ = true;
    thread_.join();
}

void TlsModelServer::loop() {
    const auto context = TlsContext::server({directory_ + "/ca.crt", directory_ + "/server.crt",
                                             directory_ + "/server.key"})
                             .value();
    while (!stop_) {
        if (!wait_fd(listener_.get(), false, 20).value_or(false)) {
            continue;
        }
        const Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.valid()) {
            serve(context, socket.get());
        }
    }
}

void TlsModelServer::serve(const TlsContext& context, int socket) {
    const timeval limit{5, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const std::unique_ptr<SSL, FreeSsl> ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), socket);
    std::array<std::byte, 4096> piece;
    if (SSL_accept(ssl.get()) != 1) {
        // Closing over what the client has sent already would reset the connection: it would never
        // read why.
        ::shutdown(socket, SHUT_WR);
        while (::recv(socket, piece.data(), piece.size(), 0) > 0) {
        }
        return;
    }
    ByteVector head;
    while (!wire::find_head_end(head).value_or(std::nullopt)) {
        const int n = SSL_read(ssl.get(), piece.data(), piece.size());
        if (n <= 0) {
            return;
        }
        head.insert(head.end(), piece.begin(), piece.begin() + n);
    }
    const auto request = wire::parse_request(head);
    if (!request || request->path != wire::upgrade_path ||
        !write_all(ssl.get(), as_bytes(wire::build_upgrade_response()))) {
        return;
    }
    with([](ModelServer& model) { model.open_session(); });
    while (!stop_ && exchange(ssl.get(), socket)) {
    }
    with([](ModelServer& model) {
        if (!model.closed) {
            model.crash();
        }
    });
}

// One round: what came in, what goes out. False: the connection is over.
bool TlsModelServer::exchange(SSL* ssl, int socket) {
    ByteVector piece(256 * kib);
    int n = 0;
    if (SSL_pending(ssl) > 0 || wait_fd(socket, false, 5).value_or(false)) {
        n = SSL_read(ssl, piece.data(), static_cast<int>(piece.size()));
        if (n <= 0) {
            return false;
        }
    }
    ByteVector out;
    const bool open = with([&](ModelServer& model) {
        model.receive(Bytes(piece).first(static_cast<std::size_t>(n)));
        out = std::exchange(model.out, {});
        return !model.closed;
    });
    return write_all(ssl, out) && open;
}

}  // namespace cw::agent::test
