#include "base/enrolment.h"

#include "base/assert.h"
#include "base/openssl_handles.h"
#include "base/tls.h"

#include <openssl/err.h>

namespace cw {
namespace {

Sha256 digest_of(const X509* certificate) {
    Sha256 digest;
    unsigned size = 0;
    CW_ASSERT(X509_digest(certificate, EVP_sha256(),
                          reinterpret_cast<unsigned char*>(digest.data()), &size) == 1);
    CW_ASSERT(size == digest.size());
    return digest;
}

// Trusts what the server shows if it is the pinned CA, and nothing else; the rest is verified as
// ever: signatures, validity, and that the leaf is for servers.
int verify_pinned(X509_STORE_CTX* store, void* argument) {
    auto& pinned = *static_cast<PinnedAuthority*>(argument);
    const STACK_OF(X509)* const shown = X509_STORE_CTX_get0_untrusted(store);
    for (int i = 0; i < sk_X509_num(shown); ++i) {
        X509* const certificate = sk_X509_value(shown, i);
        if (digest_of(certificate) != pinned.digest) {
            continue;
        }
        STACK_OF(X509)* const trusted = sk_X509_new_null();
        CW_ASSERT(trusted != nullptr && sk_X509_push(trusted, certificate) == 1);
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        const int accepted = X509_verify_cert(store);
        X509_STORE_CTX_set0_trusted_stack(store, nullptr);
        sk_X509_free(trusted);
        return accepted;
    }
    pinned.refused = true;
    X509_STORE_CTX_set_error(store, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    return 0;
}

int choose_enrolment(SSL*, const unsigned char** chosen, unsigned char* size,
                     const unsigned char* offered, unsigned offered_size, void*) {
    const std::string_view all(reinterpret_cast<const char*>(offered), offered_size);
    if (all.size() != enrolment_alpn.size() + 1 || !all.ends_with(enrolment_alpn)) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = offered + 1;
    *size = static_cast<unsigned char>(enrolment_alpn.size());
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

void pin_authority(SSL_CTX& context, PinnedAuthority& pinned) {
    CW_ASSERT(SSL_CTX_set_min_proto_version(&context, TLS1_3_VERSION) == 1);
    SSL_CTX_set_verify(&context, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(&context, verify_pinned, &pinned);
}

Result<Sha256> show_authority(SSL_CTX& context) {
    ERR_clear_error();
    STACK_OF(X509)* chain = nullptr;
    if (SSL_CTX_build_cert_chain(&context, 0) != 1 ||
        SSL_CTX_get0_chain_certs(&context, static_cast<void*>(&chain)) != 1 ||
        sk_X509_num(chain) < 1) {
        return std::unexpected(tls_error("finding the CA of this server's certificate"));
    }
    return digest_of(sk_X509_value(chain, sk_X509_num(chain) - 1));
}

void offer_enrolment(SSL_CTX& context) {
    std::string list(1, static_cast<char>(enrolment_alpn.size()));
    list += enrolment_alpn;
    CW_ASSERT(SSL_CTX_set_alpn_protos(&context, reinterpret_cast<const unsigned char*>(list.data()),
                                      static_cast<unsigned>(list.size())) == 0);
}

bool offers_enrolment(SSL* ssl) noexcept {
    const unsigned char* data = nullptr;
    std::size_t size = 0;
    constexpr std::size_t wanted = 2 + 1 + enrolment_alpn.size();  // Two lengths before the name.
    return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                     &size) == 1 &&
           size == wanted && data[0] == 0 && data[1] == wanted - 2 && data[2] == wanted - 3 &&
           std::string_view(reinterpret_cast<const char*>(data), size).ends_with(enrolment_alpn);
}

void admit_without_certificate(SSL_CTX& context) {
    SSL_CTX_set_verify(&context, SSL_VERIFY_PEER, SSL_CTX_get_verify_callback(&context));
    SSL_CTX_set_alpn_select_cb(&context, choose_enrolment, nullptr);
}

bool speaks_enrolment(const SSL* ssl) noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &name, &size);
    return std::string_view(reinterpret_cast<const char*>(name), size) == enrolment_alpn;
}

}  // namespace cw
