#include "agent/session/tls_link.h"

#include "agent/session/server_choice.h"
#include "base/disk.h"
#include "base/revocation.h"
#include "ingest/wire/http_head.h"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <thread>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace cw::agent {
namespace {

constexpr std::size_t batch_bytes = 256 * kib;

struct FreeSsl {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

// In TLS 1.3 a server judges our certificate after our handshake: the verdict is an alert.
bool certificate_refused(int reason) noexcept {
    const int alert = reason - SSL_AD_REASON_OFFSET;
    return (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_ACCESS_DENIED) ||
           alert == SSL_AD_CERTIFICATE_REQUIRED;
}

class TlsLink final : public Link {
public:
    explicit TlsLink(Fd socket) : socket_(std::move(socket)), peer_(peer_name(socket_.get())) {}

    // Handshake, identity, upgrade; each bounded by `timeout_ms`.
    Result<void> open(const TlsContext& context, const std::string& host, int timeout_ms) {
        CW_TRY(attach(context));
        CW_TRY(handshake(timeout_ms));
        CW_TRY_ASSIGN(const Identity identity, peer_identity(ssl_.get()));
        if (identity.role != Role::process_server && identity.role != Role::master_target) {
            return fail(Errc::identity_refused, "the server is " + to_string(identity));
        }
        const std::string request = wire::build_upgrade_request(host);
        CW_TRY(write(as_bytes(request)));
        while (wants_write()) {
            CW_TRY(flush());
            CW_TRY(wait(wants_write(), timeout_ms));
        }
        return read_answer(timeout_ms);
    }

    bool writable() const noexcept override { return pending() < batch_bytes; }

    Result<void> write(Bytes bytes) override {
        CW_ASSERT(bytes.size() <= mib);
        if (bytes.empty()) {
            return {};
        }
        const int n = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
        if (n != static_cast<int>(bytes.size())) {  // The memory BIO takes everything.
            return std::unexpected(tls_error("seal records for " + peer_));
        }
        return pending() >= batch_bytes ? flush() : Result<void>{};
    }

    Result<void> flush() override {
        char* data = nullptr;
        const long size = BIO_get_mem_data(out_, &data);
        while (sent_ < static_cast<std::size_t>(size)) {
            const ssize_t n = ::send(socket_.get(), data + sent_,
                                     static_cast<std::size_t>(size) - sent_, MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
                compact(Bytes(reinterpret_cast<std::byte*>(data), static_cast<std::size_t>(size)));
                return {};
            }
            if (n < 0) {
                return fail_errno(Errc::connection_lost, "send to " + peer_, errno);
            }
            sent_ += static_cast<std::size_t>(n);
        }
        (void)BIO_reset(out_);
        sent_ = 0;
        return {};
    }

    Result<std::size_t> read(MutableBytes out) override {
        const int n = SSL_read(ssl_.get(), out.data(),
                               static_cast<int>(std::min<std::size_t>(out.size(), mib)));
        if (n > 0) {
            return static_cast<std::size_t>(n);
        }
        const int error = SSL_get_error(ssl_.get(), n);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            return 0;
        }
        if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SYSCALL) {
            ERR_clear_error();
            return fail(Errc::connection_lost, peer_ + " closed the connection");
        }
        const bool refused = certificate_refused(ERR_GET_REASON(ERR_peek_error()));
        Error why = tls_error("read from " + peer_);
        // Otherwise the network or the peer broke it: the handshake is over.
        why.code = refused ? Errc::tls_failed : Errc::connection_lost;
        return std::unexpected(std::move(why));
    }

    int fd() const noexcept override { return socket_.get(); }
    bool wants_write() const noexcept override { return pending() > 0; }
    std::string peer() const override { return peer_; }

private:
    [[nodiscard]] std::size_t pending() const noexcept {
        return static_cast<std::size_t>(BIO_pending(out_)) - sent_;
    }

    // A network that always takes a part and never all must not let the buffer grow for ever.
    void compact(Bytes buffered) {
        if (sent_ < 2 * mib) {
            return;
        }
        const ByteVector rest(buffered.begin() + static_cast<std::ptrdiff_t>(sent_),
                              buffered.end());
        (void)BIO_reset(out_);
        const int n = BIO_write(out_, rest.data(), static_cast<int>(rest.size()));
        CW_ASSERT(n == static_cast<int>(rest.size()));
        sent_ = 0;
    }

    Result<void> attach(const TlsContext& context) {
        ssl_.reset(SSL_new(context.get()));
        BIO* const in = BIO_new_socket(socket_.get(), BIO_NOCLOSE);
        out_ = BIO_new(BIO_s_mem());
        if (!ssl_ || in == nullptr || out_ == nullptr) {
            return std::unexpected(tls_error("set up TLS"));
        }
        SSL_set_bio(ssl_.get(), in, out_);                          // Both belong to the SSL now.
        SSL_clear_mode(ssl_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);  // All or nothing: see write().
        SSL_set_connect_state(ssl_.get());
        return {};
    }

    Result<void> handshake(int timeout_ms) {
        for (int round = 0; round < 64; ++round) {
            const int n = SSL_do_handshake(ssl_.get());
            const int error = n == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), n);
            const Error why =
                error == SSL_ERROR_SSL ? tls_error("handshake with " + peer_) : Error{};
            CW_TRY(flush());
            if (error == SSL_ERROR_NONE && !wants_write()) {
                return {};
            }
            if (error == SSL_ERROR_SSL) {
                return std::unexpected(why);
            }
            if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN) {
                ERR_clear_error();
                return fail(Errc::connection_lost, peer_ + " closed during the handshake");
            }
            CW_TRY(wait(wants_write(), timeout_ms));
        }
        return fail(Errc::tls_failed, "handshake with " + peer_ + " does not end");
    }

    Result<void> wait(bool for_write, int timeout_ms) {
        CW_TRY_ASSIGN(const bool ready, wait_fd(socket_.get(), for_write, timeout_ms));
        if (!ready) {
            return fail(Errc::unreachable, peer_ + " does not answer");
        }
        return {};
    }

    // One byte at a time behind the head would cost; the server sends nothing after its 101 before
    // our HELLO, so a read never takes bytes of a frame.
    Result<void> read_answer(int timeout_ms) {
        ByteVector head;
        for (int round = 0; round < 256; ++round) {
            std::array<std::byte, 2048> piece;
            CW_TRY_ASSIGN(const std::size_t n, read(piece));
            head.insert(head.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(n));
            CW_TRY_ASSIGN(const auto end, wire::find_head_end(head));
            if (end) {
                CW_TRY_ASSIGN(const auto answer, wire::parse_response(Bytes(head).first(*end)));
                return wire::check_upgrade_response(answer);
            }
            if (n == 0) {
                CW_TRY(wait(false, timeout_ms));
            }
        }
        return fail(Errc::unreachable, peer_ + " answers the upgrade byte by byte");
    }

    Fd socket_;
    std::string peer_;
    std::unique_ptr<SSL, FreeSsl> ssl_;
    BIO* out_ = nullptr;    // Owned by ssl_.
    std::size_t sent_ = 0;  // Of out_'s bytes.
};

class TlsConnector final : public Connector {
public:
    TlsConnector(TlsTarget target, std::function<void()> wake)
        : target_(std::move(target)), wake_(std::move(wake)), choice_(target_.servers.size()) {}
    ~TlsConnector() override { join(); }

    void begin() override {
        join();
        thread_ = std::thread([this, server = choice_.next()] {
            auto outcome = connect_tls(target_, server);
            {
                const std::lock_guard lock(mutex_);
                outcome_ = std::move(outcome);
            }
            wake_();
        });
    }

    std::optional<Result<std::unique_ptr<Link>>> poll() override {
        const std::lock_guard lock(mutex_);
        return std::exchange(outcome_, std::nullopt);
    }

    void served() override { choice_.served(); }
    void sent_away() override { choice_.sent_away(); }

private:
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }

    const TlsTarget target_;
    const std::function<void()> wake_;
    ServerChoice choice_;
    std::mutex mutex_;
    std::optional<Result<std::unique_ptr<Link>>> outcome_;
    std::thread thread_;
};

}  // namespace

// Any server of the site may take a machine over, so which one answers is not asked: only whether
// its certificate still stands.
Result<std::unique_ptr<Link>> connect_tls(const TlsTarget& target, std::size_t server) {
    const HostPort& address = target.servers.at(server);
    TlsFiles files = target.files;
    if (!target.revoked_file.empty()) {
        const auto revoked = std::make_shared<RevocationList>();
        CW_TRY(revoked->reload(*make_posix_disk(), target.revoked_file));
        files.revoked = revoked;
    }
    CW_TRY_ASSIGN(const TlsContext context, TlsContext::client(files));
    CW_TRY_ASSIGN(Fd socket, connect_tcp(address, target.timeout_ms));
    auto link = std::make_unique<TlsLink>(std::move(socket));
    CW_TRY(link->open(context, to_string(address), target.timeout_ms));
    return link;
}

std::unique_ptr<Connector> make_tls_connector(TlsTarget target, std::function<void()> wake) {
    return std::make_unique<TlsConnector>(std::move(target), std::move(wake));
}

}  // namespace cw::agent
