// SharedKey signing of Blob requests (the rules of service version 2015-02-21 and later).
//
// Pure functions, safe from any thread.
#pragma once

#include "egress/blob/http_client.h"

namespace cw::blob {

// What is signed: the verb, eleven standard headers, every x-ms-* header sorted, and the resource
// with its query parameters. `content_length` is the body's.
std::string string_to_sign(const HttpRequest& request, std::string_view account);

// "SharedKey <account>:<base64 HMAC-SHA256>". `key` is the decoded account key.
std::string shared_key_authorization(const HttpRequest& request, std::string_view account,
                                     Bytes key);

}  // namespace cw::blob
