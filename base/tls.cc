#include "base/tls.h"

#include "base/assert.h"
#include "base/net.h"
#include "base/openssl_handles.h"

#include <array>
#include <cerrno>
#include <ctime>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>

namespace cw {
namespace {

constexpr std::string_view urn_prefix = "urn:causeway:";

struct RoleName {
    Role role;
    std::string_view name;
};
constexpr std::array role_names{
    RoleName{Role::machine, "machine"},
    RoleName{Role::process_server, "ps"},
    RoleName{Role::master_target, "mt"},
    RoleName{Role::operator_, "operator"},
};

// OpenSSL says only "certificate verify failed". Put the reason on its error queue, where
// tls_error() finds it under the library number that is left to applications.
int explain_refusal(int accepted, X509_STORE_CTX* store) {
    if (accepted == 0) {
        const int reason = X509_STORE_CTX_get_error(store);
        ERR_new();
        ERR_set_error(ERR_LIB_USER, reason, "%s at depth %d", X509_verify_cert_error_string(reason),
                      X509_STORE_CTX_get_error_depth(store));
    }
    return accepted;
}

bool says_expired(unsigned long error) noexcept {
    const int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) == ERR_LIB_USER) {
        return reason == X509_V_ERR_CERT_HAS_EXPIRED || reason == X509_V_ERR_CERT_NOT_YET_VALID;
    }
    return ERR_GET_LIB(error) == ERR_LIB_SSL && reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED;
}

// Reads the key through one descriptor, so that what is checked is what is read.
Result<openssl::Pkey> load_key(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!fd.valid() || fstat(fd.get(), &status) != 0) {
        return fail_errno(Errc::tls_failed, "key file " + path, errno);
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & 077) != 0) {
        return fail(Errc::tls_failed, "key file " + path + " must be a file of mode 0600 or less");
    }
    const openssl::Bio bio(BIO_new_fd(fd.get(), BIO_NOCLOSE));
    CW_ASSERT(bio != nullptr);
    // An empty password instead of a prompt on the terminal.
    openssl::Pkey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, const_cast<char*>("")));
    if (key == nullptr) {
        return std::unexpected(tls_error("reading key file " + path));
    }
    return key;
}

Result<void> load_files(SSL_CTX* context, const TlsFiles& files) {
    if (SSL_CTX_load_verify_file(context, files.ca_file.c_str()) != 1) {
        return std::unexpected(tls_error("reading CA file " + files.ca_file));
    }
    if (SSL_CTX_use_certificate_chain_file(context, files.cert_file.c_str()) != 1) {
        return std::unexpected(tls_error("reading certificate file " + files.cert_file));
    }
    CW_TRY_ASSIGN(const openssl::Pkey key, load_key(files.key_file));
    if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        return std::unexpected(tls_error("using key file " + files.key_file));
    }
    const X509* const leaf = SSL_CTX_get0_certificate(context);
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0 ||
        X509_cmp_current_time(X509_get0_notBefore(leaf)) >= 0) {
        return fail(Errc::certificate_expired, files.cert_file);
    }
    return {};
}

void harden(SSL_CTX* context, bool allow_tls12) {
    CW_ASSERT(
        SSL_CTX_set_min_proto_version(context, allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) == 1);
    CW_ASSERT(SSL_CTX_set_ciphersuites(context,
                                       "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:"
                                       "TLS_CHACHA20_POLY1305_SHA256") == 1);
    CW_ASSERT(SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    CW_ASSERT(SSL_CTX_set_num_tickets(context, 0) == 1);
    CW_ASSERT(SSL_CTX_set_max_early_data(context, 0) == 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, explain_refusal);
    // A private CA issues leaves directly; one intermediate is allowed for.
    SSL_CTX_set_verify_depth(context, 2);
}

Result<std::shared_ptr<SSL_CTX>> make_context(const SSL_METHOD* method, const TlsFiles& files) {
    ERR_clear_error();
    std::shared_ptr<SSL_CTX> context(SSL_CTX_new(method), SSL_CTX_free);
    CW_ASSERT(context != nullptr);
    harden(context.get(), files.allow_tls12);
    CW_TRY(load_files(context.get(), files));
    return context;
}

}  // namespace

std::string to_string(const Identity& identity) {
    for (const RoleName& row : role_names) {
        if (row.role == identity.role) {
            return std::string(urn_prefix) + std::string(row.name) + ':' + uuid_text(identity.id);
        }
    }
    CW_ASSERT(false && "a role without a name");
}

Result<Identity> parse_identity(std::string_view uri) {
    if (uri.starts_with(urn_prefix)) {
        uri.remove_prefix(urn_prefix.size());
        for (const RoleName& row : role_names) {
            if (uri.starts_with(row.name) && uri.substr(row.name.size()).starts_with(':')) {
                const auto id = parse_uuid_bytes(uri.substr(row.name.size() + 1));
                if (id) {
                    return Identity{row.role, *id};
                }
            }
        }
    }
    return fail(Errc::identity_refused, "not an identity of this product");
}

Result<TlsContext> TlsContext::server(const TlsFiles& files) {
    TlsContext context;
    CW_TRY_ASSIGN(context.context_, make_context(TLS_server_method(), files));
    // Tells a client which of its certificates to offer.
    STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(files.ca_file.c_str());
    if (names == nullptr) {
        return std::unexpected(tls_error("reading CA file " + files.ca_file));
    }
    SSL_CTX_set_client_CA_list(context.context_.get(), names);
    return context;
}

Result<TlsContext> TlsContext::client(const TlsFiles& files) {
    TlsContext context;
    CW_TRY_ASSIGN(context.context_, make_context(TLS_client_method(), files));
    return context;
}

std::int64_t TlsContext::expires_in_s(std::int64_t now) const noexcept {
    const X509* const leaf = SSL_CTX_get0_certificate(context_.get());
    tm end{};
    CW_ASSERT(leaf != nullptr && ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) == 1);
    return static_cast<std::int64_t>(timegm(&end)) - now;
}

Result<Identity> peer_identity(const SSL* ssl) {
    const X509* const certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) {
        return fail(Errc::identity_refused, "the peer has no verified certificate");
    }
    const openssl::GeneralNames names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    std::string uri;
    int found = 0;
    for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING* const text = name->d.uniformResourceIdentifier;
            uri.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                       static_cast<std::size_t>(ASN1_STRING_length(text)));
            ++found;
        }
    }
    if (found != 1) {
        return fail(Errc::identity_refused,
                    "the certificate has " + std::to_string(found) + " SAN URIs instead of one");
    }
    return parse_identity(uri);
}

Error tls_error(std::string_view doing) {
    Error error{Errc::tls_failed, std::string(doing)};
    std::string_view separator = ": ";
    const char* data = nullptr;
    int flags = 0;
    while (const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags)) {
        if (says_expired(code)) {
            error.code = Errc::certificate_expired;
        }
        const char* const reason = ERR_reason_error_string(code);
        error.detail += separator;
        error.detail += reason != nullptr ? reason : "";
        if ((flags & ERR_TXT_STRING) != 0 && data != nullptr && *data != '\0') {
            error.detail += reason != nullptr ? " (" : "";
            error.detail += data;
            error.detail += reason != nullptr ? ")" : "";
        }
        separator = ", ";
    }
    return error;
}

}  // namespace cw
