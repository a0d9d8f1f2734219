#include "tests/fake_azure/certificate.h"

#include "base/assert.h"

#include <cstdio>
#include <memory>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace cw::fake_azure {
namespace {

template <auto Free>
struct Deleter {
    template <typename T>
    void operator()(T* value) const noexcept {
        Free(value);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using File = std::unique_ptr<std::FILE, Deleter<std::fclose>>;

void add_extension(X509* certificate, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value));
    CW_ASSERT(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

Certificate self_sign(EVP_PKEY* key) {
    constexpr long year_s = 365L * 24 * 3600;
    Certificate certificate(X509_new());
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -24 * 3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), year_s);
    X509_set_pubkey(certificate.get(), key);
    X509_NAME* name = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("fake azure"), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), name);
    add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate.get(), NID_subject_alt_name,
                  "IP:127.0.0.1,DNS:localhost,DNS:*.localhost");
    CW_ASSERT(X509_sign(certificate.get(), key, EVP_sha256()) > 0);
    return certificate;
}

}  // namespace

CertificateFiles make_certificate(const std::string& directory) {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate certificate = self_sign(key.get());
    CertificateFiles files{directory + "/fake-azure.crt", directory + "/fake-azure.key"};
    const File certificate_file(std::fopen(files.certificate.c_str(), "w"));
    const File key_file(std::fopen(files.key.c_str(), "w"));
    CW_ASSERT(certificate_file && key_file);
    CW_ASSERT(PEM_write_X509(certificate_file.get(), certificate.get()) == 1);
    CW_ASSERT(PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                   nullptr) == 1);
    return files;
}

}  // namespace cw::fake_azure
