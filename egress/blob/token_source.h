// Where bearer tokens come from: the identity endpoints of Azure VMs and Azure Arc, and client
// credentials at the directory service. A source builds requests and judges replies; it sends
// nothing itself, so that the store's own HTTP client carries them and nothing blocks.
#pragma once

#include "egress/blob/http_client.h"

#include <variant>

namespace cw::blob {

struct Token {
    Secret<std::string> value;
    Nanos expires{0};  // Boot time.
    Nanos refresh{0};  // When to ask for the next one; the old one stays usable meanwhile.
};

// One attempt to get a token: send request(), give the reply to take(), until it returns a token.
// Thread-safety: none; an attempt belongs to the thread that began it.
class TokenAttempt {
public:
    virtual ~TokenAttempt() = default;
    virtual HttpRequest request() = 0;
    // A token; or nothing, meaning that request() has another request (Arc's challenge).
    // Errors: blob_auth (refused), blob_unavailable (the endpoint does not answer).
    virtual Result<std::optional<Token>> take(const HttpReply& reply, Nanos now) = 0;
};

// Thread-safe.
class TokenSource {
public:
    virtual ~TokenSource() = default;
    virtual std::unique_ptr<TokenAttempt> begin() = 0;
};

// The instance metadata service of an Azure VM. `endpoint` without a path, by default
// http://169.254.169.254; `client_id` chooses a user-assigned identity and may be empty.
std::unique_ptr<TokenSource> make_managed_identity_source(std::string endpoint,
                                                          std::string client_id);
// Azure Arc, the identity of a server on-premises. `endpoint` as in IDENTITY_ENDPOINT, with its
// path; the challenge names a file below `key_directory` that only the service's group can read.
std::unique_ptr<TokenSource> make_arc_source(std::string endpoint, std::string key_directory);
// An application's secret at `authority` (https://login.microsoftonline.com).
std::unique_ptr<TokenSource> make_client_secret_source(std::string authority, std::string tenant,
                                                       std::string client_id,
                                                       Secret<std::string> secret);

// {"access_token", "expires_in" as number or text, optional "refresh_in"}. Errors: blob_auth.
Result<Token> parse_token(Bytes body, Nanos now);

}  // namespace cw::blob
