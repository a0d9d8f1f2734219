#include "appliance/reloading_tls.h"

#include "base/assert.h"

#include <openssl/ssl.h>

namespace cw::appliance {

Result<void> ReloadingTls::load(const TlsFiles& files) {
    const std::shared_ptr<SSL_CTX> fresh(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    CW_ASSERT(fresh != nullptr);
    CW_TRY(TlsContext::set_up(*fresh, files, only_));
    const std::lock_guard lock(mutex_);
    current_ = fresh;
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
    CW_ASSERT(SSL_set_SSL_CTX(ssl, slot.current_.get()) != nullptr);
    return SSL_CLIENT_HELLO_SUCCESS;
}

}  // namespace cw::appliance
