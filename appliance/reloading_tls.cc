#include "appliance/reloading_tls.h"

#include "base/assert.h"
#include "base/enrolment.h"

#include <openssl/ssl.h>

namespace cw::appliance {

Result<void> ReloadingTls::load(const TlsFiles& files) {
    const std::shared_ptr<SSL_CTX> fresh(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    CW_ASSERT(fresh != nullptr);
    CW_TRY(TlsContext::set_up(*fresh, files, only_));
    std::shared_ptr<SSL_CTX> for_strangers;
    if (enrolment_) {
        for_strangers.reset(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
        CW_ASSERT(for_strangers != nullptr);
        CW_TRY(TlsContext::set_up(*for_strangers, files, Role::machine));
        CW_TRY(show_authority(*for_strangers));
        admit_without_certificate(*for_strangers);
    }
    const std::lock_guard lock(mutex_);
    current_ = fresh;
    for_strangers_ = for_strangers;
    return {};
}

Result<void> ReloadingTls::serve(SSL_CTX& listening, const TlsFiles& files) {
    CW_TRY(load(files));
    // What a connection keeps of the context it was made from: versions, and that a peer must
    // prove itself.
    CW_TRY(TlsContext::set_up(listening, files, only_));
    SSL_CTX_set_client_hello_cb(&listening, on_hello, this);
    return {};
}

int ReloadingTls::on_hello(SSL* ssl, int* /*alert*/, void* self) {
    auto& slot = *static_cast<ReloadingTls*>(self);
    const std::lock_guard lock(slot.mutex_);
    const bool stranger = slot.for_strangers_ != nullptr && offers_enrolment(ssl);
    CW_ASSERT(SSL_set_SSL_CTX(ssl, stranger ? slot.for_strangers_.get() : slot.current_.get()) !=
              nullptr);
    if (stranger) {  // What it demands of a peer, a connection takes from where it was made.
        SSL_set_verify(ssl, SSL_VERIFY_PEER, SSL_get_verify_callback(ssl));
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

}  // namespace cw::appliance
