#include "base/tls.h"

#include "base/assert.h"
#include "base/net.h"
#include "base/openssl_handles.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <limits>
#include <optional>

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

// What our own check or the peer's alert says about a certificate.
std::optional<Errc> certificate_flaw(unsigned long error) noexcept {
    const int reason = ERR_GET_REASON(error);
    const bool ours = ERR_GET_LIB(error) == ERR_LIB_USER;
    if (!ours && ERR_GET_LIB(error) != ERR_LIB_SSL) {
        return std::nullopt;
    }
    if (ours ? reason == X509_V_ERR_CERT_HAS_EXPIRED || reason == X509_V_ERR_CERT_NOT_YET_VALID
             : reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED) {
        return Errc::certificate_expired;
    }
    if (ours ? reason == X509_V_ERR_CERT_REVOKED
             : reason == SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED) {
        return Errc::certificate_revoked;
    }
    return std::nullopt;
}

// The single SAN URI of a certificate.
Result<Identity> identity_of(const X509* certificate) {
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

// Whom a context refuses beyond what X.509 says. It keeps the list alive: connections outlive the
// TlsContext they began with.
struct PeerRules {
    std::shared_ptr<const RevocationList> revoked;
    std::optional<Role> only;
};

void free_rules(void*, void* rules, CRYPTO_EX_DATA*, int, long, void*) {
    delete static_cast<PeerRules*>(rules);  // OpenSSL's hook is the owner's destructor.
}

int rules_slot() {
    static const int slot = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_rules);
    CW_ASSERT(slot >= 0);
    return slot;
}

int flaw_by_rules(const PeerRules& rules, X509_STORE_CTX* store) {
    const X509* const certificate = X509_STORE_CTX_get_current_cert(store);
    if (rules.revoked != nullptr && rules.revoked->revoked(certificate)) {
        return X509_V_ERR_CERT_REVOKED;
    }
    if (rules.only && X509_STORE_CTX_get_error_depth(store) == 0) {
        const Result<Identity> identity = identity_of(certificate);
        return identity && identity->role == *rules.only ? X509_V_OK
                                                         : X509_V_ERR_APPLICATION_VERIFICATION;
    }
    return X509_V_OK;
}

int judge_certificate(int accepted, X509_STORE_CTX* store) {
    const auto* const ssl = static_cast<const SSL*>(
        X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    const auto* const rules =
        static_cast<const PeerRules*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), rules_slot()));
    if (accepted == 1 && rules != nullptr) {
        const int flaw = flaw_by_rules(*rules, store);
        if (flaw != X509_V_OK) {
            X509_STORE_CTX_set_error(store, flaw);
            accepted = 0;
        }
    }
    return explain_refusal(accepted, store);
}

// A client that names no protocol, or another one, is not for us: it is told in the handshake.
int demand_protocol(SSL* ssl, int* alert, void*) {
    const unsigned char* offered = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &offered,
                                  &size) == 1) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

// In the wire's form: each name behind its length.
std::string protocol_list(std::initializer_list<std::string_view> names) {
    std::string out;
    for (const std::string_view name : names) {
        out += static_cast<char>(name.size());
        out += name;
    }
    return out;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size,
                    const unsigned char* offered, unsigned offered_size, void*) {
    static const std::string known = protocol_list({replication_alpn, "http/1.1"});
    const int found =
        SSL_select_next_proto(const_cast<unsigned char**>(chosen), size,
                              reinterpret_cast<const unsigned char*>(known.data()),
                              static_cast<unsigned>(known.size()), offered, offered_size);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
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
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       judge_certificate);
    // A private CA issues leaves directly; one intermediate is allowed for.
    SSL_CTX_set_verify_depth(context, 2);
}

Result<std::shared_ptr<SSL_CTX>> make_context(const SSL_METHOD* method, const TlsFiles& files) {
    ERR_clear_error();
    std::shared_ptr<SSL_CTX> context(SSL_CTX_new(method), SSL_CTX_free);
    CW_ASSERT(context != nullptr);
    CW_TRY(TlsContext::set_up(*context, files));
    return context;
}

std::int64_t seconds_of(const ASN1_TIME* time) noexcept {
    tm end{};
    return ASN1_TIME_to_tm(time, &end) == 1 ? static_cast<std::int64_t>(timegm(&end))
                                            : std::numeric_limits<std::int64_t>::min();
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
    // No client would accept it, and each would say so only to itself.
    if (X509_check_purpose(SSL_CTX_get0_certificate(context.get()), X509_PURPOSE_SSL_SERVER, 0) !=
        1) {
        return fail(Errc::identity_refused, files.cert_file + " is not a server's certificate");
    }
    // Tells a client which of its certificates to offer.
    STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(files.ca_file.c_str());
    if (names == nullptr) {
        return std::unexpected(tls_error("reading CA file " + files.ca_file));
    }
    SSL_CTX_set_client_CA_list(context.context_.get(), names);
    SSL_CTX_set_client_hello_cb(context.context_.get(), demand_protocol, nullptr);
    SSL_CTX_set_alpn_select_cb(context.context_.get(), choose_protocol, nullptr);
    return context;
}

Result<TlsContext> TlsContext::client(const TlsFiles& files) {
    TlsContext context;
    CW_TRY_ASSIGN(context.context_, make_context(TLS_client_method(), files));
    const std::string wanted = protocol_list({replication_alpn});
    CW_ASSERT(SSL_CTX_set_alpn_protos(context.context_.get(),
                                      reinterpret_cast<const unsigned char*>(wanted.data()),
                                      static_cast<unsigned>(wanted.size())) == 0);
    return context;
}

Result<void> TlsContext::set_up(SSL_CTX& context, const TlsFiles& files, std::optional<Role> only) {
    harden(&context, files.allow_tls12);
    CW_TRY(load_files(&context, files));
    CW_ASSERT(SSL_CTX_get_ex_data(&context, rules_slot()) == nullptr);
    auto rules = std::make_unique<PeerRules>(files.revoked, only);
    CW_ASSERT(SSL_CTX_set_ex_data(&context, rules_slot(), rules.release()) == 1);
    return {};
}

std::int64_t TlsContext::expires_in_s(std::int64_t now) const noexcept {
    const X509* const leaf = SSL_CTX_get0_certificate(context_.get());
    CW_ASSERT(leaf != nullptr);
    return seconds_of(X509_get0_notAfter(leaf)) - now;
}

Result<Identity> TlsContext::identity() const {
    return identity_of(SSL_CTX_get0_certificate(context_.get()));
}

Result<Identity> peer_identity(const SSL* ssl) {
    const X509* const certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) {
        return fail(Errc::identity_refused, "the peer has no verified certificate");
    }
    return identity_of(certificate);
}

bool speaks_replication(const SSL* ssl) noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &name, &size);
    return std::string_view(reinterpret_cast<const char*>(name), size) == replication_alpn;
}

std::int64_t peer_expires_at_s(const SSL* ssl) noexcept {
    const STACK_OF(X509)* const chain = SSL_get0_verified_chain(ssl);
    std::int64_t earliest = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        earliest = std::min(earliest, seconds_of(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
    return sk_X509_num(chain) > 0 ? earliest : std::numeric_limits<std::int64_t>::min();
}

bool peer_revoked(const SSL* ssl, const RevocationList& list) {
    const X509* const certificate = SSL_get0_peer_certificate(ssl);
    return certificate != nullptr && list.revoked(certificate);
}

Error tls_error(std::string_view doing) {
    Error error{Errc::tls_failed, std::string(doing)};
    std::string_view separator = ": ";
    const char* data = nullptr;
    int flags = 0;
    while (const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags)) {
        error.code = certificate_flaw(code).value_or(error.code);
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
