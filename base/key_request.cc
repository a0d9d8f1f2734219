// A request for a certificate, made by whoever holds the key.
#include "base/assert.h"
#include "base/enrolment.h"
#include "base/openssl_handles.h"
#include "base/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

namespace cw {
namespace {

constexpr std::size_t pem_bytes_max = 64 * kib;

Result<std::string> make_request(EVP_PKEY* key) {
    const openssl::Request request(X509_REQ_new());
    CW_ASSERT(request != nullptr && X509_REQ_set_pubkey(request.get(), key) == 1);
    if (X509_REQ_sign(request.get(), key, EVP_sha256()) <= 0) {
        return std::unexpected(tls_error("signing a certificate request"));
    }
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    CW_ASSERT(bio != nullptr && PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
}

}  // namespace

Result<std::string> request_for_key(Disk& disk, const std::string& key_file) {
    ERR_clear_error();
    CW_TRY_ASSIGN(ByteVector pem, read_file(disk, key_file, pem_bytes_max));
    const openssl::Bio bio = openssl::bio_over(pem);
    // An empty password instead of a prompt on the terminal.
    const openssl::Pkey key(
        PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, const_cast<char*>("")));
    wipe(pem);
    if (key == nullptr) {
        return std::unexpected(tls_error("reading key file " + key_file));
    }
    return make_request(key.get());
}

Result<std::string> request_certificate(const std::string& key_file) {
    const auto disk = make_posix_disk();
    const openssl::Pkey key(EVP_EC_gen("P-256"));
    CW_ASSERT(key != nullptr);
    const openssl::Bio bio(BIO_new(BIO_s_secmem()));
    CW_ASSERT(bio != nullptr && PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0,
                                                         nullptr, nullptr) == 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    CW_TRY(write_file_atomically(*disk, key_file, as_bytes({data, static_cast<std::size_t>(size)}),
                                 0600));
    return make_request(key.get());
}

}  // namespace cw
