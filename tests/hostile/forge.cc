#include "tests/hostile/forge.h"

#include "base/assert.h"
#include "base/openssl_handles.h"

#include <cstdio>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

namespace cw::hostile {
namespace {

struct Authority {
    openssl::Certificate certificate;
    openssl::Pkey key;
};

openssl::Pkey make_key(bool weak) {
    openssl::Pkey key(weak ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"));
    CW_ASSERT(key != nullptr);
    return key;
}

void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const openssl::Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    CW_ASSERT(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

openssl::Certificate begin(EVP_PKEY* key, const std::string& common_name, const Forgery& forgery) {
    openssl::Certificate leaf(X509_new());
    CW_ASSERT(leaf != nullptr);
    X509_set_version(leaf.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(leaf.get()), 4711);
    X509_gmtime_adj(X509_getm_notBefore(leaf.get()), static_cast<long>(forgery.from_s));
    X509_gmtime_adj(X509_getm_notAfter(leaf.get()), static_cast<long>(forgery.until_s));
    X509_set_pubkey(leaf.get(), key);
    // By its type and not as an MBSTRING, so that OpenSSL looks neither at the characters nor at
    // the length. What is no UTF-8 it can sign as T61 only, in which every byte is one.
    const int type = common_name.contains('\xff') ? V_ASN1_T61STRING : V_ASN1_UTF8STRING;
    CW_ASSERT(X509_NAME_add_entry_by_txt(X509_get_subject_name(leaf.get()), "CN", type,
                                         reinterpret_cast<const unsigned char*>(common_name.data()),
                                         static_cast<int>(common_name.size()), -1, 0) == 1);
    extend(leaf.get(), leaf.get(), NID_basic_constraints,
           forgery.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!forgery.usage.empty()) {
        extend(leaf.get(), leaf.get(), NID_ext_key_usage, forgery.usage);
    }
    if (!forgery.names.empty()) {
        extend(leaf.get(), leaf.get(), NID_subject_alt_name, forgery.names);
    }
    return leaf;
}

void sign(X509* leaf, const X509* issuer, EVP_PKEY* issuer_key, bool weak_digest) {
    X509_set_issuer_name(leaf, X509_get_subject_name(issuer));
    CW_ASSERT(X509_sign(leaf, issuer_key, weak_digest ? EVP_sha1() : EVP_sha256()) > 0);
}

Authority load_site(const std::string& pki) {
    const openssl::Bio certificate(BIO_new_file((pki + "/ca.crt").c_str(), "r"));
    const openssl::Bio key(BIO_new_file((pki + "/ca.key").c_str(), "r"));
    CW_ASSERT(certificate != nullptr && key != nullptr);
    Authority site;
    site.certificate.reset(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
    site.key.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
    CW_ASSERT(site.certificate != nullptr && site.key != nullptr);
    return site;
}

// Another authority that calls itself as the site's does.
Authority make_other(const Authority& site) {
    Authority other;
    other.key = make_key(false);
    other.certificate =
        begin(other.key.get(), "Causeway CA", {.names = {}, .usage = {}, .authority = true});
    X509_set_subject_name(other.certificate.get(), X509_get_subject_name(site.certificate.get()));
    sign(other.certificate.get(), other.certificate.get(), other.key.get(), false);
    return other;
}

// A machine's own certificate, used as if it could vouch for others.
Authority make_leaf(const Authority& site) {
    Authority leaf;
    leaf.key = make_key(false);
    leaf.certificate = begin(leaf.key.get(), "a leaf", {.names = name_of_machine(1)});
    sign(leaf.certificate.get(), site.certificate.get(), site.key.get(), false);
    return leaf;
}

std::string padded(std::uint64_t seed) {
    std::string digits = std::to_string(seed);
    return std::string(12 - digits.size(), '0') + digits;
}

}  // namespace

std::string name_of_role(std::string_view role, std::uint64_t seed) {
    return "URI:urn:causeway:" + std::string(role) + ":dddddddd-0000-4000-8000-" + padded(seed);
}

std::string name_of_machine(std::uint64_t seed) {
    return name_of_role("machine", seed);
}

Forged Forged::make(const std::string& pki, const Forgery& forgery) {
    const Authority site = load_site(pki);
    Forged forged;
    openssl::Pkey key = make_key(forgery.weak_key);
    openssl::Certificate leaf = begin(key.get(), forgery.common_name, forgery);
    switch (forgery.issuer) {
        case Forgery::Issuer::site:
            sign(leaf.get(), site.certificate.get(), site.key.get(), forgery.weak_digest);
            break;
        case Forgery::Issuer::itself:
            sign(leaf.get(), leaf.get(), key.get(), forgery.weak_digest);
            break;
        case Forgery::Issuer::other_authority: {
            const Authority other = make_other(site);
            sign(leaf.get(), other.certificate.get(), other.key.get(), forgery.weak_digest);
            break;
        }
        case Forgery::Issuer::leaf: {
            Authority issuer = make_leaf(site);
            sign(leaf.get(), issuer.certificate.get(), issuer.key.get(), forgery.weak_digest);
            forged.intermediate_.reset(issuer.certificate.release(), X509_free);
            break;
        }
    }
    forged.certificate_.reset(leaf.release(), X509_free);
    forged.key_.reset(key.release(), EVP_PKEY_free);
    return forged;
}

void Forged::use(SSL_CTX* context) const {
    SSL_CTX_set_security_level(context, 0);  // The client has no scruples.
    CW_ASSERT(SSL_CTX_use_certificate(context, certificate_.get()) == 1);
    CW_ASSERT(SSL_CTX_use_PrivateKey(context, key_.get()) == 1);
    if (intermediate_ != nullptr) {
        CW_ASSERT(SSL_CTX_add1_chain_cert(context, intermediate_.get()) == 1);
    }
}

}  // namespace cw::hostile
