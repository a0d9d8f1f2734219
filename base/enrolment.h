// How a machine without a certificate and a server that it never met come to trust each other.
//
// An enrolment token is for people to carry: a secret that the server knows by its hash alone, and
// the SHA-256 of the CA certificate behind the server's own. The machine demands that CA in the
// handshake, before it says a word; the server lets it in without a certificate for one protocol
// name (ALPN), on which nothing but enrolment is served.
#pragma once

#include "base/crypto.h"
#include "base/disk.h"
#include "base/error.h"
#include "base/secret.h"

#include <array>
#include <string>
#include <string_view>

#include <openssl/types.h>

namespace cw {

inline constexpr std::string_view enrolment_alpn = "causeway-enrolment/1";

using TokenSecret = std::array<std::byte, 20>;  // 160 random bits.

struct EnrolmentToken {
    Secret<TokenSecret> secret;
    Sha256 authority{};  // Of the CA certificate in DER.
};

// "cwenrol1-<40 hex digits>-<64 hex digits>".
Secret<std::string> token_text(const EnrolmentToken& token);
// White space around it is ignored. Errors: token_refused; none repeats what was given.
Result<EnrolmentToken> parse_token(std::string_view text);
// The secret alone, as a request carries it: 40 hex digits. Errors: token_refused.
Result<Secret<TokenSecret>> parse_token_secret(std::string_view hex);

// As request_certificate(), for the key that `key_file` holds already. Errors: tls_failed,
// io_error, not_found.
Result<std::string> request_for_key(Disk& disk, const std::string& key_file);
// Which key a request is for: SHA-256 of its public key in DER. Errors: usage (malformed, weak, not
// signed by that key).
Result<Sha256> request_key_digest(std::string_view csr_pem);

// Whether a server may sign with the CA in `ca_directory` (ca.crt, ca.key): the key is for nobody
// else to read and fits, and `ca_file` trusts what it signs. Errors: config_invalid, tls_failed,
// not_found, io_error.
Result<void> check_signer(const std::string& ca_directory, const std::string& ca_file);

// The CA that a client demands. It outlives the context that it was pinned to.
struct PinnedAuthority {
    Sha256 digest{};
    bool refused = false;  // Set when a server showed another.
};
// Makes a client's context believe this CA and no other, and servers' certificates only.
void pin_authority(SSL_CTX& context, PinnedAuthority& pinned);
// Makes a server show its CA too, and returns the digest that tokens carry. Errors: tls_failed (the
// CA file does not hold the CA of the context's certificate).
Result<Sha256> show_authority(SSL_CTX& context);

// A client that names the enrolment protocol and no other.
void offer_enrolment(SSL_CTX& context);
// Whether a client hello does so; only within a client hello callback.
bool offers_enrolment(SSL* ssl) noexcept;
// Makes a server's context speak that protocol, with peers that show a certificate or none. The one
// they show is verified as ever.
void admit_without_certificate(SSL_CTX& context);
bool speaks_enrolment(const SSL* ssl) noexcept;

}  // namespace cw
