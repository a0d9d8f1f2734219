#include "tests/ingest/forged_certificate.h"

#include "base/assert.h"
#include "base/openssl_handles.h"

#include <cstdio>

#include <openssl/pem.h>
#include <sys/stat.h>

namespace cw::test {
namespace {

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

File open_file(const std::string& path, const char* mode) {
    File file(std::fopen(path.c_str(), mode), &std::fclose);
    CW_ASSERT(file);
    return file;
}

void extend(X509* certificate, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    const openssl::Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    CW_ASSERT(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

void sign(X509* certificate, EVP_PKEY* key) {
    const bool ed25519 = EVP_PKEY_is_a(key, "ED25519") == 1;
    CW_ASSERT(X509_sign(certificate, key, ed25519 ? nullptr : EVP_sha256()) > 0);
}

}  // namespace

TlsFiles forge_certificate(const std::string& ca_directory, const std::string& name,
                           const Forgery& forgery) {
    const std::string prefix = ca_directory + "/forged-" + name;
    const openssl::Pkey ca_key(PEM_read_PrivateKey(open_file(ca_directory + "/ca.key", "r").get(),
                                                   nullptr, nullptr, nullptr));
    const openssl::Certificate ca(
        PEM_read_X509(open_file(ca_directory + "/ca.crt", "r").get(), nullptr, nullptr, nullptr));
    const openssl::Pkey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    const openssl::Certificate leaf(X509_new());
    CW_ASSERT(ca_key && ca && key && leaf);
    X509_set_version(leaf.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(leaf.get()), 4711);
    X509_gmtime_adj(X509_getm_notBefore(leaf.get()), static_cast<long>(forgery.valid_from_s));
    X509_gmtime_adj(X509_getm_notAfter(leaf.get()), 3600);
    X509_set_pubkey(leaf.get(), key.get());
    X509_NAME* const subject = X509_get_subject_name(leaf.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("forged"), -1, -1, 0);
    X509_set_issuer_name(leaf.get(),
                         forgery.self_signed ? subject : X509_get_subject_name(ca.get()));
    extend(leaf.get(), NID_basic_constraints,
           forgery.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!forgery.key_usage.empty()) {
        extend(leaf.get(), NID_ext_key_usage, forgery.key_usage);
    }
    if (!forgery.alt_names.empty()) {
        extend(leaf.get(), NID_subject_alt_name, forgery.alt_names);
    }
    sign(leaf.get(), forgery.self_signed ? key.get() : ca_key.get());
    CW_ASSERT(PEM_write_X509(open_file(prefix + ".crt", "w").get(), leaf.get()) == 1);
    CW_ASSERT(PEM_write_PrivateKey(open_file(prefix + ".key", "w").get(), key.get(), nullptr,
                                   nullptr, 0, nullptr, nullptr) == 1);
    CW_ASSERT(::chmod((prefix + ".key").c_str(), 0600) == 0);
    return {.ca_file = ca_directory + "/ca.crt",
            .cert_file = prefix + ".crt",
            .key_file = prefix + ".key"};
}

}  // namespace cw::test
