#include "base/ids.h"
#include "base/net.h"
#include "base/random.h"
#include "base/tls.h"
#include "bench/cpu_meter.h"
#include "bench/primitives.h"

#include <algorithm>
#include <thread>

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

namespace cw::bench {
namespace {

constexpr int timeout_ms = 10'000;
constexpr std::size_t send_bytes = 256 * kib, read_buffer_bytes = 64 * kib;
constexpr std::int64_t certificate_s = 3600;

struct FreeSsl {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};
using Ssl = std::unique_ptr<SSL, FreeSsl>;

Result<TlsFiles> make_files(const std::string& directory, Random& random) {
    const std::string prefix = directory + "/peer";
    CW_TRY_ASSIGN(const auto id, Result<std::array<std::byte, 16>>(make_uuid_bytes(random)));
    CW_TRY(issue_certificate(directory,
                             {.identity = {.role = Role::process_server, .id = id},
                              .common_name = "primitive",
                              .dns_or_ip = "127.0.0.1",
                              .valid_seconds = certificate_s},
                             prefix));
    return TlsFiles{.ca_file = directory + "/ca.crt",
                    .cert_file = prefix + ".crt",
                    .key_file = prefix + ".key"};
}

// Blocking from here on: waits for the socket inside.
Result<void> handshake(SSL* ssl, int fd, bool accept) {
    for (;;) {
        const int done = accept ? SSL_accept(ssl) : SSL_connect(ssl);
        if (done == 1) {
            return {};
        }
        const int why = SSL_get_error(ssl, done);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            return std::unexpected(tls_error("handshake of the TLS primitive"));
        }
        CW_TRY(wait_fd(fd, why == SSL_ERROR_WANT_WRITE, timeout_ms));
    }
}

Result<void> send_all(int fd, const char* bytes, std::size_t size) {
    while (size > 0) {
        const ssize_t sent = ::send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            return fail_errno(Errc::connection_lost, "send", errno);
        }
        if (sent <= 0) {
            CW_TRY(wait_fd(fd, true, timeout_ms));
            continue;
        }
        bytes += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return {};
}

// Seals records into memory and sends 256 KiB at a time. Returns the thread's CPU seconds.
Result<double> send_data(SSL* ssl, int fd, Bytes data) {
    BIO* const memory = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, memory);
    const double before = thread_cpu_s();
    while (!data.empty()) {
        for (Bytes batch = data.first(std::min(data.size(), send_bytes)); !batch.empty();) {
            std::size_t written = 0;  // A record: the context allows partial writes.
            if (SSL_write_ex(ssl, batch.data(), batch.size(), &written) != 1) {
                return std::unexpected(tls_error("SSL_write"));
            }
            batch = batch.subspan(written);
        }
        char* sealed = nullptr;
        const long size = BIO_get_mem_data(memory, &sealed);
        CW_TRY(send_all(fd, sealed, static_cast<std::size_t>(size)));
        BIO_reset(memory);
        data = data.subspan(std::min(data.size(), send_bytes));
    }
    return thread_cpu_s() - before;
}

Result<double> receive_data(SSL* ssl, int fd, std::size_t expected) {
    ByteVector buffer(mib);
    const double before = thread_cpu_s();
    while (expected > 0) {
        std::size_t got = 0;
        if (SSL_read_ex(ssl, buffer.data(), std::min(buffer.size(), expected), &got) != 1) {
            if (SSL_get_error(ssl, 0) != SSL_ERROR_WANT_READ) {
                return std::unexpected(tls_error("SSL_read"));
            }
            CW_TRY(wait_fd(fd, false, timeout_ms));
            continue;
        }
        expected -= got;
    }
    return thread_cpu_s() - before;
}

Result<double> run_sender(const TlsFiles& files, std::uint16_t port, Bytes data) {
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::client(files));
    CW_TRY_ASSIGN(const Fd fd, connect_tcp({.host = "127.0.0.1", .port = port}, timeout_ms));
    const Ssl ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), fd.get());
    CW_TRY(handshake(ssl.get(), fd.get(), false));
    return send_data(ssl.get(), fd.get(), data);
}

Result<double> run_receiver(const TlsFiles& files, const Fd& listener, std::size_t bytes) {
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::server(files));
    CW_TRY(wait_fd(listener.get(), false, timeout_ms));
    const Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
        return fail_errno(Errc::connection_lost, "accept", errno);
    }
    const Ssl ssl(SSL_new(context.get()));
    SSL_set_read_ahead(ssl.get(), 1);
    SSL_set_default_read_buffer_len(ssl.get(), read_buffer_bytes);
    SSL_set_fd(ssl.get(), fd.get());
    CW_TRY(handshake(ssl.get(), fd.get(), true));
    return receive_data(ssl.get(), fd.get(), bytes);
}

}  // namespace

Result<void> measure_tls(Primitives& out, Bytes data, const std::string& directory) {
    const auto random = make_system_random();
    CW_TRY(create_ca(directory, "benchmark", certificate_s));
    CW_TRY_ASSIGN(const TlsFiles files, make_files(directory, *random));
    CW_TRY_ASSIGN(const Fd listener, listen_tcp({.host = "127.0.0.1", .port = 0}));
    CW_TRY_ASSIGN(const std::uint16_t port, local_port(listener));
    Result<double> sent = 0;
    std::jthread sender([&] { sent = run_sender(files, port, data); });
    const Result<double> received = run_receiver(files, listener, data.size());
    sender.join();
    CW_TRY(sent);
    CW_TRY(received);
    const double scale = static_cast<double>(gib) / static_cast<double>(data.size());
    out.tls_receive = *received * scale;
    out.stored_tls_send = *sent * scale;
    return {};
}

}  // namespace cw::bench
