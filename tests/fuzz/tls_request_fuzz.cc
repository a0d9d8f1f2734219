// A request for a certificate, of a peer that nobody knows yet: as it came, as the content of a PEM
// frame, and signed again by a key of its own, so that whatever else it asks for gets through.
// Whatever is signed has what we decided, and of the request the key alone.
#include "base/assert.h"
#include "base/enrolment.h"
#include "base/openssl_handles.h"
#include "base/tls.h"

#include <cstdlib>
#include <filesystem>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ui.h>

namespace {

using namespace cw;

int refuse_to_ask(UI* /*ui*/) {
    CW_ASSERT(false && "somebody at the server is asked for a peer's password");
    return 0;
}

// The CA that signs, for as long as the process runs.
class Site {
public:
    Site() : key_(EVP_EC_gen("P-256")), nobody_(UI_create_method("nobody")) {
        CW_ASSERT(::mkdtemp(directory_.data()) != nullptr && key_ != nullptr);
        CW_ASSERT(create_ca(directory_, "Fuzz CA", 3600).has_value());
        const auto pem = read_file(*make_posix_disk(), directory_ + "/ca.crt", 64 * kib);
        CW_ASSERT(pem.has_value());
        const openssl::Bio bio = openssl::bio_over(*pem);
        ca_.reset(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
        CW_ASSERT(ca_ != nullptr);
        UI_method_set_opener(nobody_, refuse_to_ask);
        UI_set_default_method(nobody_);
    }
    ~Site() {
        UI_set_default_method(nullptr);
        UI_destroy_method(nobody_);
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    Site(const Site&) = delete;
    Site& operator=(const Site&) = delete;

    const std::string& directory() const { return directory_; }
    X509* ca() const { return ca_.get(); }
    EVP_PKEY* key() const { return key_.get(); }

private:
    std::string directory_ = "/tmp/tls_request_fuzz.XXXXXX";
    openssl::Certificate ca_;
    openssl::Pkey key_;
    UI_METHOD* nobody_;
};

const Site& site() {
    static const Site one;
    return one;
}

const CertificateRequest& wanted() {
    static const CertificateRequest one{
        .identity =
            parse_identity("urn:causeway:machine:6ba7b810-9dad-41d1-80b4-00c04fd430c8").value(),
        .common_name = "a machine",
        .dns_or_ip = {},
        .valid_seconds = 600};
    return one;
}

std::string_view text_of(const ASN1_STRING* text) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<std::size_t>(ASN1_STRING_length(text))};
}

void check_names(X509* certificate) {
    const X509_NAME* const subject = X509_get_subject_name(certificate);
    CW_ASSERT(X509_NAME_entry_count(subject) == 1);
    const X509_NAME_ENTRY* const name = X509_NAME_get_entry(subject, 0);
    CW_ASSERT(OBJ_obj2nid(X509_NAME_ENTRY_get_object(name)) == NID_commonName);
    CW_ASSERT(text_of(X509_NAME_ENTRY_get_data(name)) == wanted().common_name);

    const openssl::GeneralNames others(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    CW_ASSERT(others != nullptr && sk_GENERAL_NAME_num(others.get()) == 1);
    const GENERAL_NAME* const identity = sk_GENERAL_NAME_value(others.get(), 0);
    CW_ASSERT(identity->type == GEN_URI);
    CW_ASSERT(text_of(identity->d.uniformResourceIdentifier) == to_string(wanted().identity));
}

// A key for a machine, which signs for nobody and serves nobody.
void check_powers(X509* certificate) {
    CW_ASSERT(X509_verify(certificate, X509_get0_pubkey(site().ca())) == 1);
    CW_ASSERT(X509_check_ca(certificate) == 0);
    CW_ASSERT(X509_get_key_usage(certificate) == KU_DIGITAL_SIGNATURE);
    CW_ASSERT(X509_get_extended_key_usage(certificate) == XKU_SSL_CLIENT);
    // These three, the names and the numbers of both keys: nothing came in with the request.
    CW_ASSERT(X509_get_ext_count(certificate) == 6);
}

void check_key(X509* certificate, const Sha256& digest) {
    EVP_PKEY* const key = X509_get0_pubkey(certificate);
    CW_ASSERT(key != nullptr && EVP_PKEY_get_security_bits(key) >= 112);
    const openssl::PkeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
    CW_ASSERT(context != nullptr && EVP_PKEY_public_check(context.get()) == 1);
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(key, &der);
    CW_ASSERT(size > 0);
    const Bytes bytes(reinterpret_cast<const std::byte*>(der), static_cast<std::size_t>(size));
    CW_ASSERT(sha256(bytes) == digest);
    OPENSSL_free(der);
}

// Whether it was accepted.
bool check(std::string_view request) {
    const auto digest = request_key_digest(request);
    const auto pem = sign_request(site().directory(), request, wanted());
    CW_ASSERT(digest.has_value() == pem.has_value());
    if (!digest) {
        CW_ASSERT(digest.error().code == Errc::usage && pem.error().code == Errc::usage);
        return false;
    }
    const openssl::Bio bio = openssl::bio_over(as_bytes(*pem));
    const openssl::Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    CW_ASSERT(certificate != nullptr && BIO_pending(bio.get()) == 0);
    check_names(certificate.get());
    check_powers(certificate.get());
    check_key(certificate.get(), *digest);
    // However good it is, only so much is read of it.
    const auto padded = request_key_digest(std::string(request) + std::string(64 * kib, '\n'));
    CW_ASSERT(!padded && padded.error().code == Errc::usage);
    return true;
}

std::string framed(Bytes der) {
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    const auto* const data = reinterpret_cast<const unsigned char*>(der.data());
    if (PEM_write_bio(bio.get(), PEM_STRING_X509_REQ, "", data, static_cast<long>(der.size())) <=
        0) {
        return {};
    }
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

openssl::Request request_of(Bytes bytes) {
    const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
    if (openssl::Request der{d2i_X509_REQ(nullptr, &at, static_cast<long>(bytes.size()))}) {
        return der;
    }
    const openssl::Bio bio = openssl::bio_over(bytes);
    return openssl::Request(
        PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, const_cast<char*>("")));
}

void check_signed_again(Bytes bytes) {
    const openssl::Request request = request_of(bytes);
    if (request == nullptr || X509_REQ_set_pubkey(request.get(), site().key()) != 1 ||
        X509_REQ_sign(request.get(), site().key(), EVP_sha256()) <= 0) {
        return;
    }
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    CW_ASSERT(PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    static_cast<void>(check({text, static_cast<std::size_t>(size)}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (!check(as_text(bytes))) {
        static_cast<void>(check(framed(bytes)));
    }
    check_signed_again(bytes);
    ERR_clear_error();
    return 0;
}
