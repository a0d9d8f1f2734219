// What is not the Blob service: the fake's own control requests and the identity endpoints.
#include "tests/fake_azure/server.h"

#include <fstream>

#include <nlohmann/json.hpp>

namespace cw::fake_azure {
namespace {

Reply json_reply(int status, const nlohmann::json& json) {
    Reply reply(status);
    reply.text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    reply.from_service = false;
    return reply.with("Content-Type", "application/json");
}

std::string_view body_text(const Request& request) {
    return request.body ? as_text(request.body->view()) : std::string_view{};
}

nlohmann::json to_json(const FakeStats& stats) {
    return {{"requests", stats.requests},         {"total", stats.count("*")},
            {"most_at_once", stats.most_at_once}, {"bytes_in", stats.bytes_in},
            {"bytes_out", stats.bytes_out},       {"connections", stats.connections}};
}

constexpr std::string_view arc_challenge = "fake-arc-challenge-0123456789";

}  // namespace

// GET /__fake/stats, POST /__fake/reset, POST /__fake/faults, POST /__fake/revoke,
// POST /__fake/advance?ms=N.
std::optional<Reply> FakeAzure::Server::control(const Request& request) {
    if (!request.raw_path.starts_with("/__fake/")) {
        return std::nullopt;
    }
    if (request.raw_path == "/__fake/stats" && request.method == "GET") {
        return json_reply(200, to_json(stats()));
    }
    if (request.method != "POST") {
        return json_reply(404, {{"error", "no such control"}});
    }
    if (request.raw_path == "/__fake/reset") {
        reset_stats();
        return json_reply(200, {{"ok", true}});
    }
    if (request.raw_path == "/__fake/revoke") {
        authentication.revoke_tokens();
        return json_reply(200, {{"ok", true}});
    }
    if (request.raw_path == "/__fake/faults") {
        auto rules = parse_fault_rules(body_text(request));
        if (!rules) {
            return json_reply(400, {{"error", rules.error().detail}});
        }
        faults.replace(std::move(*rules));
        return json_reply(200, {{"ok", true}});
    }
    if (request.raw_path == "/__fake/advance") {
        time.advance(std::strtoll(std::string(request.parameter("ms")).c_str(), nullptr, 10) *
                     1'000'000);
        return json_reply(200, {{"ok", true}});
    }
    return json_reply(404, {{"error", "no such control"}});
}

// The instance metadata service, the Arc agent and the directory's token endpoint.
std::optional<Reply> FakeAzure::Server::identity(const Request& request) {
    const bool client_secret = request.raw_path.ends_with("/oauth2/v2.0/token");
    const bool managed = request.raw_path == "/metadata/identity/oauth2/token";
    if (!client_secret && !managed) {
        return std::nullopt;
    }
    const FaultRule fault = faults.next("token", request.raw_path, time.steady_ns());
    if (fault.action != Action::none) {
        return json_reply(fault.status, {{"error", "scripted"}});
    }
    if (client_secret) {
        const std::string_view form = body_text(request);
        const auto holds = [&form](std::string_view part) {
            return form.find(part) != std::string_view::npos;
        };
        const bool right = request.method == "POST" && holds("grant_type=client_credentials") &&
                           holds("client_secret=correct%20horse") &&
                           holds("scope=https%3A%2F%2Fstorage.azure.com%2F.default");
        return right ? token_reply() : json_reply(401, {{"error", "invalid_client"}});
    }
    if (request.method != "GET" || request.header("metadata") != "true" ||
        request.parameter("resource") != "https://storage.azure.com/") {
        return json_reply(400, {{"error", "invalid_request"}});
    }
    if (request.parameter("api-version") == "2019-11-01") {
        if (request.header("authorization") == "Basic " + std::string(arc_challenge)) {
            return token_reply();
        }
        std::ofstream(options.arc_key_file) << arc_challenge;
        return json_reply(401, {{"error", "challenge"}})
            .with("WWW-Authenticate", "Basic realm=" + options.arc_key_file);
    }
    return token_reply();
}

Reply FakeAzure::Server::token_reply() {
    const std::int64_t life_s = options.token_life_s;
    const std::string token = authentication.issue_token(time.wall_s() + life_s);
    if (!options.token_file.empty()) {
        const std::lock_guard guard(mutex_);
        std::ofstream(options.token_file, std::ios::app) << token << '\n';
    }
    return json_reply(200, {{"access_token", token},
                            {"expires_in", std::to_string(life_s)},
                            {"token_type", "Bearer"}});
}

}  // namespace cw::fake_azure
