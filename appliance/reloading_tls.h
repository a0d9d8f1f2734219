// ReloadingTls: the certificate of an HTTP server, which may change while it listens: every
// handshake that begins takes the newest. Connections that stand keep what they began with.
//
// With enrolment, who names that protocol and no other is met by a context of its own: it shows the
// CA, and lets in machines and those that have no certificate yet. Everybody else is refused in the
// handshake as ever.
//
// Thread-safety: load() and handshakes from any thread. It outlives the server.
#pragma once

#include "base/tls.h"

#include <memory>
#include <mutex>

namespace cw::appliance {

class ReloadingTls {
public:
    // Peers of other roles are refused.
    explicit ReloadingTls(Role only, bool enrolment = false) : only_(only), enrolment_(enrolment) {}

    // Errors: those of TlsContext::set_up(); what was loaded before stays in use.
    Result<void> load(const TlsFiles& files);
    // Makes `listening`, the context of the library's server, hand every handshake over to what is
    // loaded. Errors: as load().
    Result<void> serve(SSL_CTX& listening, const TlsFiles& files);

private:
    static int on_hello(SSL* ssl, int* alert, void* self);

    const Role only_;
    const bool enrolment_;
    std::mutex mutex_;
    // With mutex_; OpenSSL counts its own users. The second is null without enrolment.
    std::shared_ptr<SSL_CTX> current_, for_strangers_;
};

}  // namespace cw::appliance
