// What an answer of the blob service means for the caller: decided by x-ms-error-code first, then
// by status, and never from an answer that the service did not give.
//
// Pure functions, safe from any thread.
#pragma once

#include "egress/blob/http_client.h"

namespace cw::blob {

struct Verdict {
    Errc code = Errc::blob_unavailable;
    // The request may have been applied, or may be later: a put must be read back.
    bool in_doubt = false;
};

// `error_code` may be empty. Total: every pair has a verdict.
Verdict classify(int status, std::string_view error_code) noexcept;

// The service's error code: from the header, else from an XML or JSON body.
std::string error_code_of(const HttpReply& reply);

// Whether the blob service itself answered. A 404 or a 403 page of a proxy or a captive portal must
// never be taken for "the object does not exist".
bool from_service(const HttpReply& reply) noexcept;

// The verdict and an error with status, code and request id as evidence.
struct Judgement {
    Error error;
    bool in_doubt = false;
};
// `now_s`: the time that requests are dated with, to tell a wrong clock from a wrong credential.
Judgement judge_failure(const HttpReply& reply, std::string_view what, std::int64_t now_s);

// A credential refused in a way that a fresh one may mend: 401, or 403 AuthenticationFailed.
bool credential_refused(const HttpReply& reply);

}  // namespace cw::blob
