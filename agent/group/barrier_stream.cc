#include "agent/group/barrier_stream.h"

#include <array>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace cw::agent {
namespace {

constexpr std::string_view barrier_alpn =
    "\x12"
    "causeway-barrier/1";
// A handful of messages; who sends more without being read is no coordinator.
constexpr std::size_t waiting_bytes_max = 64 * kib;

const unsigned char* alpn_bytes() noexcept {
    return reinterpret_cast<const unsigned char*>(barrier_alpn.data());
}

int choose_alpn(SSL*, const unsigned char** chosen, unsigned char* size,
                const unsigned char* offered, unsigned offered_size, void*) {
    return SSL_select_next_proto(const_cast<unsigned char**>(chosen), size, alpn_bytes(),
                                 barrier_alpn.size(), offered,
                                 offered_size) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool agreed(const SSL* ssl) noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &name, &size);
    return std::string_view(reinterpret_cast<const char*>(name), size) == barrier_alpn.substr(1);
}

}  // namespace

struct BarrierStream::Tls {
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context{nullptr, SSL_CTX_free};
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl{nullptr, SSL_free};
};

BarrierStream::BarrierStream(Fd socket, std::unique_ptr<Tls> tls)
    : socket_(std::move(socket)), address_(peer_name(socket_.get())), tls_(std::move(tls)) {}

BarrierStream::~BarrierStream() = default;

Result<std::unique_ptr<BarrierStream>> BarrierStream::open(Fd socket, End end,
                                                           const TlsFiles& files) {
    const bool listens = end == End::listening;
    auto tls = std::make_unique<Tls>();
    ERR_clear_error();
    tls->context.reset(SSL_CTX_new(listens ? TLS_server_method() : TLS_client_method()));
    CW_ASSERT(tls->context != nullptr);
    SSL_CTX* const context = tls->context.get();
    CW_TRY(TlsContext::set_up(*context, files, Role::machine));
    if (listens) {
        SSL_CTX_set_alpn_select_cb(context, choose_alpn, nullptr);
    } else {
        CW_ASSERT(SSL_CTX_set_alpn_protos(context, alpn_bytes(), barrier_alpn.size()) == 0);
        CW_ASSERT(SSL_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT) == 1);
    }
    tls->ssl.reset(SSL_new(context));
    if (!tls->ssl || SSL_set_fd(tls->ssl.get(), socket.get()) != 1) {
        return std::unexpected(tls_error("set up TLS"));
    }
    if (listens) {
        SSL_set_accept_state(tls->ssl.get());
    } else {
        SSL_set_connect_state(tls->ssl.get());
    }
    return std::unique_ptr<BarrierStream>(new BarrierStream(std::move(socket), std::move(tls)));
}

Result<void> BarrierStream::step() {
    wants_write_ = false;
    if (!peer_) {
        CW_TRY(shake_hands());
        if (!peer_) {
            return {};
        }
    }
    CW_TRY(write_some());
    return read_some();
}

Result<void> BarrierStream::shake_hands() {
    ERR_clear_error();
    const int done = SSL_do_handshake(tls_->ssl.get());
    if (done == 1) {
        CW_TRY_ASSIGN(peer_, peer_identity(tls_->ssl.get()));
        return agreed(tls_->ssl.get())
                   ? Result<void>{}
                   : fail(Errc::identity_refused, address_ + " is no member of a group");
    }
    const int error = SSL_get_error(tls_->ssl.get(), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        wants_write_ = error == SSL_ERROR_WANT_WRITE;
        return {};
    }
    if (error == SSL_ERROR_SSL) {
        return std::unexpected(tls_error("handshake with " + address_));
    }
    ERR_clear_error();
    return fail(Errc::connection_lost, address_ + " closed during the handshake");
}

Result<void> BarrierStream::write_some() {
    while (!out_.empty()) {
        ERR_clear_error();
        const int n = SSL_write(tls_->ssl.get(), out_.data(), static_cast<int>(out_.size()));
        if (n <= 0) {
            const int error = SSL_get_error(tls_->ssl.get(), n);
            wants_write_ = error == SSL_ERROR_WANT_WRITE;
            ERR_clear_error();
            return wants_write_ || error == SSL_ERROR_WANT_READ
                       ? Result<void>{}
                       : fail(Errc::connection_lost, "send to " + address_);
        }
        out_.erase(out_.begin(), out_.begin() + n);
    }
    return {};
}

Result<void> BarrierStream::read_some() {
    std::array<std::byte, 4096> piece;
    for (int round = 0; round < 16 && in_.size() < waiting_bytes_max; ++round) {
        ERR_clear_error();
        const int n = SSL_read(tls_->ssl.get(), piece.data(), static_cast<int>(piece.size()));
        if (n > 0) {
            in_.insert(in_.end(), piece.begin(), piece.begin() + n);
            continue;
        }
        const int error = SSL_get_error(tls_->ssl.get(), n);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            return {};
        }
        const Error why = tls_error("read from " + address_);
        return fail(Errc::connection_lost, why.detail);
    }
    return {};
}

Result<std::optional<BarrierMessage>> BarrierStream::next() {
    CW_TRY_ASSIGN(auto decoded, decode_barrier(in_));
    if (!decoded) {
        return std::nullopt;
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(decoded->used));
    return std::move(decoded->message);
}

void BarrierStream::send(const BarrierMessage& message) {
    const ByteVector bytes = encode_barrier(message);
    if (out_.size() + bytes.size() <= waiting_bytes_max) {  // Else it is lost, like on a network.
        out_.insert(out_.end(), bytes.begin(), bytes.end());
    }
}

}  // namespace cw::agent
