// ReloadingTls: the certificate of an HTTP server, which may change while it listens: every
// handshake that begins takes the newest. Connections that stand keep what they began with.
//
// Thread-safety: load() and handshakes from any thread. It outlives the server.
#pragma once

#include "base/tls.h"

#include <memory>
#include <mutex>

namespace cw::appliance {

class ReloadingTls {
public:
    explicit ReloadingTls(Role only) : only_(only) {}  // Peers of other roles are refused.

    // Errors: those of TlsContext::set_up(); what was loaded before stays in use.
    Result<void> load(const TlsFiles& files);
    // Makes `listening`, the context of the library's server, hand every handshake over to what is
    // loaded. Errors: as load().
    Result<void> serve(SSL_CTX& listening, const TlsFiles& files);

private:
    static int on_hello(SSL* ssl, int* alert, void* self);

    const Role only_;
    std::mutex mutex_;
    std::shared_ptr<SSL_CTX> current_;  // With mutex_. OpenSSL counts its own users.
};

}  // namespace cw::appliance
