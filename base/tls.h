// TLS contexts, peer identity and the project's own certificates.
//
// Identity is the certificate's SAN URI (urn:causeway:machine|ps|mt|operator:<uuid>), never a field
// the peer fills in. TLS 1.3 only unless `allow_tls12`; mutual always; no tickets, no early data,
// no renegotiation. Every client names the protocol it wants (ALPN), so that nobody can pass one
// service's connection off as another's: `replication_alpn`, or http/1.1 for health probes.
// Thread-safety: a TlsContext may be shared; an SSL belongs to one thread.
#pragma once

#include "base/error.h"
#include "base/ids.h"
#include "base/revocation.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <openssl/types.h>

namespace cw {

enum class Role { machine, process_server, master_target, operator_ };

struct Identity {
    Role role;
    std::array<std::byte, 16> id;
    friend bool operator==(const Identity&, const Identity&) = default;
};
std::string to_string(const Identity& identity);  // "urn:causeway:machine:<uuid>"
Result<Identity> parse_identity(std::string_view uri);

inline constexpr std::string_view replication_alpn = "causeway-replication/1";

struct TlsFiles {
    std::string ca_file;    // PEM, one or more (overlap while rotating)
    std::string cert_file;  // PEM, leaf first
    std::string key_file;   // PEM, mode 0600 or stricter, else refused
    bool allow_tls12 = false;
    // Peers to refuse; null: none. Shared by whoever reloads it and every context made with it.
    std::shared_ptr<const RevocationList> revoked{};
};

class TlsContext {
public:
    // Errors: tls_failed (unreadable, key does not match), certificate_expired, identity_refused
    // (server: the certificate is not for servers).
    static Result<TlsContext> server(const TlsFiles& files);
    static Result<TlsContext> client(const TlsFiles& files);
    // Hardens and fills a context that a library made, as server() would, but without demanding a
    // protocol name: for HTTP servers. `only`: peers of other roles are refused in the handshake.
    static Result<void> set_up(SSL_CTX& context, const TlsFiles& files,
                               std::optional<Role> only = std::nullopt);
    [[nodiscard]] SSL_CTX* get() const noexcept { return context_.get(); }
    // Seconds until our own leaf expires (negative: expired), judged at wall second `now`.
    [[nodiscard]] std::int64_t expires_in_s(std::int64_t now) const noexcept;
    // Who our own leaf says we are. Errors: identity_refused (no or several identities).
    [[nodiscard]] Result<Identity> identity() const;

private:
    std::shared_ptr<SSL_CTX> context_;  // Shared with each SSL made from it (OpenSSL counts too).
};

// The verified peer's identity. Errors: identity_refused (no certificate, no or several SAN URIs,
// unknown form).
Result<Identity> peer_identity(const SSL* ssl);
// Whether the two sides agreed on `replication_alpn`.
bool speaks_replication(const SSL* ssl) noexcept;
// When the peer's certificate, or one it was verified by, expires: wall seconds. Lowest if unknown.
std::int64_t peer_expires_at_s(const SSL* ssl) noexcept;
// Whether the certificate that the peer showed has been revoked since. Any list.
bool peer_revoked(const SSL* ssl, const RevocationList& list);
// Why the handshake or record layer failed, from OpenSSL's error queue; empties the queue.
Error tls_error(std::string_view doing);

// A certificate authority on the local disk: what quickstart, tests and small sites use.
struct CertificateRequest {
    Identity identity;
    std::string common_name;         // Display only.
    std::string dns_or_ip;           // Server certificates: comma-separated names; may be empty.
    std::int64_t valid_seconds = 0;  // > 0
};
// Creates `directory`/ca.crt and ca.key (P-256; the key 0600). Errors: file_exists, io_error, usage
// (a name that is not 1 to 64 printable ASCII characters).
Result<void> create_ca(const std::string& directory, const std::string& name,
                       std::int64_t valid_seconds);
// Writes `<prefix>.crt` and `<prefix>.key` signed by the CA in `ca_directory`; existing ones are
// replaced. Errors: usage (names), tls_failed (the CA's files do not fit), io_error.
Result<void> issue_certificate(const std::string& ca_directory, const CertificateRequest& request,
                               const std::string& prefix);
// Enrolment, for a key that never leaves its machine: makes a key in `key_file` (0600) and returns
// the PEM of a certificate signing request for it. The request names nobody: who it is for is the
// signer's decision.
Result<std::string> request_certificate(const std::string& key_file);
// The PEM of a certificate for the request's key; only `request` decides what is in it.
// Errors: usage (malformed, weak key, not signed by that key), tls_failed, io_error.
Result<std::string> sign_request(const std::string& ca_directory, std::string_view csr_pem,
                                 const CertificateRequest& request);

}  // namespace cw
