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

Result<openssl::Request> openssl::read_request(std::string_view pem) {
    ERR_clear_error();
    if (pem.size() > pem_bytes_max) {
        return fail(Errc::usage, "the certificate request is too long");
    }
    const Bio bio = bio_over(as_bytes(pem));
    Request request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
    EVP_PKEY* const key = request == nullptr ? nullptr : X509_REQ_get0_pubkey(request.get());
    if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
        return fail(Errc::usage, tls_error("reading the certificate request").detail);
    }
    if (EVP_PKEY_get_security_bits(key) < 112) {
        return fail(Errc::usage, "the key of the certificate request is too weak");
    }
    return request;
}

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

Result<Sha256> request_key_digest(std::string_view csr_pem) {
    CW_TRY_ASSIGN(const openssl::Request request, openssl::read_request(csr_pem));
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(X509_REQ_get0_pubkey(request.get()), &der);
    CW_ASSERT(size > 0);
    const auto freed = [](unsigned char* bytes) { OPENSSL_free(bytes); };
    const std::unique_ptr<unsigned char, decltype(freed)> owner(der, freed);
    return sha256({reinterpret_cast<const std::byte*>(der), static_cast<std::size_t>(size)});
}

}  // namespace cw
