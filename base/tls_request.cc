#include "base/tls_request.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/enrolment.h"
#include "base/tls.h"

#include <memory>

#include <openssl/err.h>
#include <openssl/pem.h>

namespace cw {
namespace {

constexpr std::size_t pem_bytes_max = 64 * kib;

constexpr int key_bits_max = 8192;  // To check one of more takes seconds.
constexpr int security_bits_min = 112;

// A key that its own signature fits is no key yet: a point at infinity and an exponent of one have
// a signature for everything, which nobody needs a secret for. Some of these cannot be written.
bool sound(EVP_PKEY* key) {
    const openssl::PkeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
    return context != nullptr && EVP_PKEY_public_check(context.get()) == 1 &&
           i2d_PUBKEY(key, nullptr) > 0;
}

}  // namespace

Result<openssl::Request> openssl::read_request(std::string_view pem) {
    ERR_clear_error();
    if (pem.size() > pem_bytes_max) {
        return fail(Errc::usage, "the certificate request is too long");
    }
    const Bio bio = bio_over(as_bytes(pem));
    // An empty password instead of a prompt on the terminal: an encrypted one is the peer's trick.
    Request request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, const_cast<char*>("")));
    EVP_PKEY* const key = request == nullptr ? nullptr : X509_REQ_get0_pubkey(request.get());
    if (key != nullptr && EVP_PKEY_get_bits(key) > key_bits_max) {
        return fail(Errc::usage, "the key of the certificate request is too long");
    }
    if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
        return fail(Errc::usage, tls_error("reading the certificate request").detail);
    }
    if (EVP_PKEY_get_security_bits(key) < security_bits_min || !sound(key)) {
        ERR_clear_error();
        return fail(Errc::usage, "the key of the certificate request is too weak");
    }
    return request;
}

Result<Sha256> request_key_digest(std::string_view csr_pem) {
    CW_TRY_ASSIGN(const openssl::Request request, openssl::read_request(csr_pem));
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(X509_REQ_get0_pubkey(request.get()), &der);
    CW_ASSERT(size > 0);  // read_request() has tried it.
    const auto freed = [](unsigned char* bytes) { OPENSSL_free(bytes); };
    const std::unique_ptr<unsigned char, decltype(freed)> owner(der, freed);
    return sha256({reinterpret_cast<const std::byte*>(der), static_cast<std::size_t>(size)});
}

}  // namespace cw
