// Certificate signing requests as OpenSSL's objects. Private to base/.
#pragma once

#include "base/error.h"
#include "base/openssl_handles.h"

#include <string_view>

namespace cw::openssl {

// A request that its own key has signed; the key can be written. Errors: usage (too long,
// malformed, weak key, forged).
Result<Request> read_request(std::string_view pem);

}  // namespace cw::openssl
