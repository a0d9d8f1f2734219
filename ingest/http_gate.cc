#include "ingest/http_gate.h"

namespace cw::ingest {
namespace {

struct Refusal {
    int status;
    const char* title;
    const char* detail;
    Errc code;
    bool retry = false;
    bool offer_upgrade = false;
};

// Texts are ours, without anything the peer sent: nothing needs escaping.
GateAnswer refuse(const Refusal& refusal, std::uint32_t retry_after_s) {
    std::string body = "{\"type\":\"about:blank\",\"title\":\"";
    body += refusal.title;
    body += "\",\"status\":" + std::to_string(refusal.status) + ",\"detail\":\"";
    body += refusal.detail;
    body += "\",\"code\":\"";
    body += name_of(refusal.code);
    body += "\"}\n";
    wire::HttpResponse response{
        refusal.status,
        refusal.title,
        {{"Content-Type", "application/problem+json"}, {"Connection", "close"}}};
    if (refusal.retry) {
        response.headers.push_back({"Retry-After", std::to_string(retry_after_s)});
    }
    if (refusal.offer_upgrade) {
        response.headers.push_back({"Upgrade", std::string(wire::upgrade_token)});
    }
    return {refusal.status, wire::build_response(response, body)};
}

GateAnswer healthy() {
    return {200, wire::build_response(
                     {200, "OK", {{"Content-Type", "application/json"}, {"Connection", "close"}}},
                     "{\"status\":\"ok\"}\n")};
}

bool asks_for_upgrade(const wire::HttpRequest& request) {
    return request.method == "GET" && wire::lists_token(request.headers, "Connection", "upgrade") &&
           wire::lists_token(request.headers, "Upgrade", wire::upgrade_token);
}

}  // namespace

GateAnswer answer_head(const Result<wire::HttpRequest>& request, const GateState& state) {
    const std::uint32_t wait = state.retry_after_s;
    if (!request) {
        return refuse({400, "Bad Request", "the request head is malformed", Errc::frame_malformed},
                      wait);
    }
    if (!state.identity) {
        return refuse({401, "Unauthorized", "the certificate carries no usable identity",
                       Errc::identity_refused},
                      wait);
    }
    if (request->path == wire::healthz_path && request->method == "GET") {
        return healthy();
    }
    if (request->path != wire::upgrade_path) {
        return refuse({404, "Not Found", "there is nothing at this path", Errc::not_found}, wait);
    }
    if (state.identity->role != Role::machine) {
        return refuse({403, "Forbidden", "only machines replicate", Errc::authz_denied}, wait);
    }
    if (!state.replication || !asks_for_upgrade(*request)) {
        return refuse({426, "Upgrade Required", "GET with the upgrade named in this answer",
                       Errc::version_unsupported, false, true},
                      wait);
    }
    if (state.clashing) {
        return refuse(
            {409, "Conflict", "two agents use this identity by turns", Errc::identity_refused},
            wait);
    }
    if (state.draining || state.full) {
        return refuse({503, "Service Unavailable",
                       state.draining ? "the server is draining" : "connection limit",
                       Errc::server_busy, true},
                      wait);
    }
    if (state.too_often) {
        return refuse({429, "Too Many Requests", "too many connections of this identity",
                       Errc::server_busy, true},
                      wait);
    }
    return {101, wire::build_upgrade_response()};
}

}  // namespace cw::ingest
