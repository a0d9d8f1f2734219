// How a request proves who sent it: account key, shared access signature, or bearer token. Shared
// by all stores of a factory, so that a token is refreshed once, not once per store.
#pragma once

#include "egress/blob/token_source.h"

namespace cw::blob {

// Thread-safe.
class Authorizer {
public:
    virtual ~Authorizer() = default;

    enum class State : std::uint8_t { usable, waiting, failed };
    // waiting: a token is being fetched, by whichever store began. failed: see failure().
    virtual State state(Nanos now) = 0;
    virtual Error failure() = 0;

    // Adds the credential. Returns which credential it was, for reject(). state() was usable.
    virtual std::uint64_t sign(HttpRequest& request) = 0;
    // The service refused that credential. True: a newer one is there or will be fetched, so the
    // request deserves one more try.
    virtual bool reject(std::uint64_t credential) = 0;

    // When a refresh is due and nobody is at it: an attempt, which the caller must carry out and
    // report to end_refresh(). Else nothing.
    virtual std::unique_ptr<TokenAttempt> begin_refresh(Nanos now) = 0;
    virtual void end_refresh(Result<Token> token, Nanos now) = 0;
};

// `key`: the decoded account key.
std::unique_ptr<Authorizer> make_shared_key_authorizer(std::string account,
                                                       Secret<std::string> key);
// `sas`: the query string, with or without its leading '?'.
std::unique_ptr<Authorizer> make_sas_authorizer(Secret<std::string> sas);
std::unique_ptr<Authorizer> make_bearer_authorizer(std::unique_ptr<TokenSource> source);
// A token somebody else renews, for emulators and tests.
std::unique_ptr<Authorizer> make_fixed_token_authorizer(Secret<std::string> token);

}  // namespace cw::blob
