#include "base/assert.h"
#include "base/crypto.h"
#include "base/disk.h"
#include "base/enrolment.h"
#include "base/openssl_handles.h"
#include "base/tls.h"
#include "base/tls_request.h"

#include <algorithm>
#include <ctime>

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>

namespace cw {
namespace {

constexpr std::int64_t backdated_s = 300;  // Clocks of peers differ a little.
constexpr std::size_t pem_bytes_max = 64 * kib;
constexpr std::size_t name_length_max = 64;  // X.520 upper bound of a common name.

struct Authority {
    openssl::Certificate certificate;
    openssl::Pkey key;
};

openssl::Pkey make_key() {
    openssl::Pkey key(EVP_EC_gen("P-256"));
    CW_ASSERT(key != nullptr);
    return key;
}

std::string take_text(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

std::string to_pem(X509* certificate) {
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    CW_ASSERT(bio != nullptr && PEM_write_bio_X509(bio.get(), certificate) == 1);
    return take_text(bio.get());
}

ByteVector to_pem(EVP_PKEY* key) {
    const openssl::Bio bio(BIO_new(BIO_s_secmem()));
    CW_ASSERT(bio != nullptr &&
              PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    const Bytes pem = as_bytes({data, static_cast<std::size_t>(size)});
    return {pem.begin(), pem.end()};
}

Result<void> write_key(Disk& disk, const std::string& path, EVP_PKEY* key) {
    ByteVector pem = to_pem(key);
    auto written = write_file_atomically(disk, path, pem, 0600);
    wipe(pem);
    return written;
}

// 159 random bits: unpredictable, positive and at most 20 bytes (RFC 5280, 4.1.2.2).
void set_random_serial(X509* certificate) {
    const openssl::Number number(BN_new());
    CW_ASSERT(number != nullptr);
    CW_ASSERT(BN_rand(number.get(), 159, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1);
    CW_ASSERT(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr);
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const openssl::Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    CW_ASSERT(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

// A certificate for `key` that is complete but for extensions and signature.
openssl::Certificate begin_certificate(EVP_PKEY* key, const std::string& common_name,
                                       std::int64_t valid_seconds) {
    openssl::Certificate certificate(X509_new());
    CW_ASSERT(certificate != nullptr);
    CW_ASSERT(X509_set_version(certificate.get(), X509_VERSION_3) == 1);
    set_random_serial(certificate.get());
    const std::int64_t now = time(nullptr);
    CW_ASSERT(ASN1_TIME_set(X509_getm_notBefore(certificate.get()), now - backdated_s) != nullptr);
    CW_ASSERT(ASN1_TIME_set(X509_getm_notAfter(certificate.get()), now + valid_seconds) != nullptr);
    const auto* const name = reinterpret_cast<const unsigned char*>(common_name.data());
    CW_ASSERT(X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate.get()), NID_commonName,
                                         MBSTRING_UTF8, name, static_cast<int>(common_name.size()),
                                         -1, 0) == 1);
    CW_ASSERT(X509_set_pubkey(certificate.get(), key) == 1);
    return certificate;
}

void sign(X509* certificate, X509* issuer, EVP_PKEY* issuer_key) {
    CW_ASSERT(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1);
    CW_ASSERT(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
}

// OpenSSL's UTF-8 string must be valid, and its length is bounded: display only, so cut to size.
Result<std::string> checked_common_name(const std::string& name) {
    const bool plain = std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (name.empty() || name.size() > name_length_max || !plain) {
        return fail(Errc::usage, "a common name has 1 to 64 printable ASCII characters");
    }
    return name;
}

bool is_ip(const std::string& text) noexcept {
    in6_addr address{};
    return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
           inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool is_dns_name(const std::string& text) noexcept {
    constexpr std::string_view allowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.*";
    return !text.empty() && text.size() <= 253 &&
           text.find_first_not_of(allowed) == std::string::npos;
}

// "URI:urn:…,DNS:name,IP:address" for OpenSSL's extension parser. Every name is checked first:
// a comma or colon in one would become an entry of its own.
Result<std::string> alternative_names(const CertificateRequest& request) {
    std::string out = "URI:" + to_string(request.identity);
    std::string_view rest = request.dns_or_ip;
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        const std::string name(rest.substr(0, comma));
        rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
        if (is_ip(name)) {
            out += ",IP:" + name;
        } else if (is_dns_name(name)) {
            out += ",DNS:" + name;
        } else {
            return fail(Errc::usage, "neither a DNS name nor an IP address: " + name);
        }
    }
    return out;
}

Result<Authority> load_authority(Disk& disk, const std::string& directory) {
    ERR_clear_error();
    Authority authority;
    CW_TRY_ASSIGN(const ByteVector certificate,
                  read_file(disk, directory + "/ca.crt", pem_bytes_max));
    const openssl::Bio certificate_bio = openssl::bio_over(certificate);
    authority.certificate.reset(
        PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
    CW_TRY_ASSIGN(ByteVector key, read_file(disk, directory + "/ca.key", pem_bytes_max));
    const openssl::Bio key_bio = openssl::bio_over(key);
    authority.key.reset(
        PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, const_cast<char*>("")));
    wipe(key);
    if (authority.certificate == nullptr || authority.key == nullptr ||
        X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
        return std::unexpected(tls_error("reading the CA in " + directory));
    }
    return authority;
}

// Nobody can be led to take a machine or an operator for a server: their certificates say so.
const char* key_usage_of(Role role) noexcept {
    const bool serves = role == Role::process_server || role == Role::master_target;
    return serves ? "clientAuth,serverAuth" : "clientAuth";
}

Result<std::string> certify(const Authority& authority, EVP_PKEY* key,
                            const CertificateRequest& request) {
    CW_ASSERT(request.valid_seconds > 0);
    CW_TRY_ASSIGN(const std::string common_name, checked_common_name(request.common_name));
    CW_TRY_ASSIGN(const std::string names, alternative_names(request));
    const auto leaf = begin_certificate(key, common_name, request.valid_seconds);
    X509* const issuer = authority.certificate.get();
    add_extension(leaf.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(leaf.get(), issuer, NID_key_usage, "critical,digitalSignature");
    add_extension(leaf.get(), issuer, NID_ext_key_usage, key_usage_of(request.identity.role));
    add_extension(leaf.get(), issuer, NID_subject_key_identifier, "hash");
    add_extension(leaf.get(), issuer, NID_authority_key_identifier, "keyid");
    add_extension(leaf.get(), issuer, NID_subject_alt_name, names);
    sign(leaf.get(), issuer, authority.key.get());
    return to_pem(leaf.get());
}

}  // namespace

Result<void> create_ca(const std::string& directory, const std::string& name,
                       std::int64_t valid_seconds) {
    CW_ASSERT(valid_seconds > 0);
    CW_TRY_ASSIGN(const std::string common_name, checked_common_name(name));
    const auto disk = make_posix_disk();
    CW_TRY(disk->create_directories(directory));
    for (const char* file : {"/ca.crt", "/ca.key"}) {
        CW_TRY_ASSIGN(const bool exists, disk->exists(directory + file));
        if (exists) {
            return fail(Errc::file_exists, directory + file);
        }
    }
    const openssl::Pkey key = make_key();
    const auto ca = begin_certificate(key.get(), common_name, valid_seconds);
    add_extension(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(ca.get(), ca.get(), NID_subject_key_identifier, "hash");
    sign(ca.get(), ca.get(), key.get());
    CW_TRY(write_key(*disk, directory + "/ca.key", key.get()));
    return write_file_atomically(*disk, directory + "/ca.crt", as_bytes(to_pem(ca.get())), 0644);
}

Result<void> issue_certificate(const std::string& ca_directory, const CertificateRequest& request,
                               const std::string& prefix) {
    const auto disk = make_posix_disk();
    CW_TRY_ASSIGN(const Authority authority, load_authority(*disk, ca_directory));
    const openssl::Pkey key = make_key();
    CW_TRY_ASSIGN(const std::string certificate, certify(authority, key.get(), request));
    CW_TRY(write_key(*disk, prefix + ".key", key.get()));
    return write_file_atomically(*disk, prefix + ".crt", as_bytes(certificate), 0644);
}

Result<std::string> sign_request(const std::string& ca_directory, std::string_view csr_pem,
                                 const CertificateRequest& request) {
    CW_TRY_ASSIGN(const openssl::Request csr, openssl::read_request(csr_pem));
    const auto disk = make_posix_disk();
    CW_TRY_ASSIGN(const Authority authority, load_authority(*disk, ca_directory));
    return certify(authority, X509_REQ_get0_pubkey(csr.get()), request);
}

Result<void> check_signer(const std::string& ca_directory, const std::string& ca_file) {
    const std::string key_file = ca_directory + "/ca.key";
    struct stat status{};
    if (::stat(key_file.c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fail(Errc::config_invalid, key_file + " may be read by others: chmod 0400");
    }
    const auto disk = make_posix_disk();
    CW_TRY_ASSIGN(const Authority authority, load_authority(*disk, ca_directory));
    CW_TRY_ASSIGN(const ByteVector trusted, read_file(*disk, ca_file, pem_bytes_max));
    const openssl::Bio bio = openssl::bio_over(trusted);
    while (
        const openssl::Certificate each{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
        if (X509_cmp(each.get(), authority.certificate.get()) == 0) {
            return {};
        }
    }
    ERR_clear_error();
    return fail(Errc::config_invalid,
                ca_file + " does not trust the CA in " + ca_directory + ", which is to sign");
}

}  // namespace cw
