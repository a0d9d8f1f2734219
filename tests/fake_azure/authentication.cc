#include "tests/fake_azure/authentication.h"

#include "base/crypto.h"
#include "egress/blob/http_parse.h"
#include "tests/fake_azure/sas.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include <sys/random.h>

namespace cw::fake_azure {
namespace {

constexpr std::int64_t date_window_s = 15 * 60;

Reply refuse(std::string code) {
    return Reply(403, std::move(code));
}

std::string string_to_sign(const Request& request, const std::string& account) {
    constexpr std::array<std::string_view, 11> standard{"content-encoding",
                                                        "content-language",
                                                        "content-length",
                                                        "content-md5",
                                                        "content-type",
                                                        "date",
                                                        "if-modified-since",
                                                        "if-match",
                                                        "if-none-match",
                                                        "if-unmodified-since",
                                                        "range"};
    std::string text = request.method;
    for (const std::string_view name : standard) {
        const bool empty = (name == "content-length" && request.content_length == 0) ||
                           (name == "date" && request.has("x-ms-date"));
        text += '\n';
        text += empty ? std::string_view{} : request.header(name);
    }
    text += '\n';
    for (const auto& [name, value] : request.headers) {  // A map: sorted already.
        if (name.starts_with("x-ms-")) {
            text += name + ":" + value + "\n";
        }
    }
    text += "/" + account + request.raw_path;
    std::map<std::string, std::multiset<std::string>> parameters;
    for (const auto& [name, value] : request.query) {
        parameters[name].insert(value);
    }
    for (const auto& [name, values] : parameters) {
        text += "\n" + name + ":";
        for (auto value = values.begin(); value != values.end(); ++value) {
            text += (value == values.begin() ? "" : ",") + *value;
        }
    }
    return text;
}

// Azure knows its versions by date; nothing older than bearer tokens is served here.
bool known_version(std::string_view version) {
    return version.size() == 10 && version[4] == '-' && version[7] == '-' &&
           version >= "2017-11-09" && version <= "2027-01-01";
}

}  // namespace

Authentication::Authentication(std::string account, std::string key_base64)
    : account_(std::move(account)) {
    auto key = from_base64(key_base64);
    CW_ASSERT(key.has_value());
    key_ = std::move(*key);
}

std::optional<Reply> Authentication::check(const Request& request, Demand demand,
                                           std::int64_t now_s) {
    const bool sas = !request.parameter("sig").empty();
    const std::string_view credential = request.header("authorization");
    if (!sas || request.has("x-ms-version")) {
        if (!known_version(request.header("x-ms-version"))) {
            return Reply(400, "InvalidHeaderValue");
        }
    }
    if (request.account != account_) {
        return Reply(404, "ResourceNotFound");
    }
    if (credential.starts_with("SharedKey ")) {
        return check_shared_key(request, credential.substr(10), now_s);
    }
    if (credential.starts_with("Bearer ")) {
        return check_bearer(request, std::string(credential.substr(7)), now_s);
    }
    if (sas) {
        return check_sas(request, demand, now_s);
    }
    Reply reply(401, "NoAuthenticationInformation");
    reply.with("WWW-Authenticate", "Bearer authorization_uri=https://login.invalid/");
    return reply;
}

std::optional<Reply> Authentication::check_shared_key(const Request& request,
                                                      std::string_view credential,
                                                      std::int64_t now_s) const {
    const std::string_view date_text =
        request.has("x-ms-date") ? request.header("x-ms-date") : request.header("date");
    const auto date = blob::parse_http_date(date_text);
    if (!date || std::llabs(*date - now_s) > date_window_s) {
        return refuse("AuthenticationFailed");
    }
    const std::string expected =
        account_ + ":" + to_base64(hmac_sha256(key_, as_bytes(string_to_sign(request, account_))));
    return credential == expected ? std::nullopt : std::optional(refuse("AuthenticationFailed"));
}

std::optional<Reply> Authentication::check_bearer(const Request& request, const std::string& token,
                                                  std::int64_t now_s) {
    if (!request.tls) {
        return refuse("AuthenticationFailed");
    }
    const std::lock_guard guard(mutex_);
    const auto found = tokens_.find(token);
    if (found != tokens_.end() && now_s < found->second) {
        return std::nullopt;
    }
    Reply reply(401, "InvalidAuthenticationInfo");
    reply.with("WWW-Authenticate", "Bearer authorization_uri=https://login.invalid/");
    return reply;
}

std::optional<Reply> Authentication::check_sas(const Request& request, Demand demand,
                                               std::int64_t now_s) const {
    if (!signature_matches(request)) {
        return refuse("AuthenticationFailed");
    }
    const auto start = parse_iso_time(request.parameter("st"));
    const auto expiry = parse_iso_time(request.parameter("se"));
    if (!expiry || now_s >= *expiry || (start && now_s < *start)) {
        return refuse("AuthenticationFailed");
    }
    if (request.parameter("spr") == "https" && !request.tls) {
        return refuse("AuthorizationProtocolMismatch");
    }
    const bool account_sas = !request.parameter("ss").empty();
    if (account_sas) {
        if (request.parameter("ss").find('b') == std::string_view::npos) {
            return refuse("AuthorizationServiceMismatch");
        }
        if (request.parameter("srt").find(demand.resource_type) == std::string_view::npos) {
            return refuse("AuthorizationResourceTypeMismatch");
        }
    } else if (demand.resource_type == 's' ||
               (request.parameter("sr") == "b" && demand.resource_type != 'o')) {
        return refuse("AuthorizationResourceTypeMismatch");
    }
    if (request.parameter("sp").find_first_of(demand.permissions) == std::string_view::npos) {
        return refuse("AuthorizationPermissionMismatch");
    }
    return std::nullopt;
}

bool Authentication::signature_matches(const Request& request) const {
    const auto parameter = [&](const char* name) { return std::string(request.parameter(name)); };
    if (!request.parameter("ss").empty()) {
        const AccountSas sas{.permissions = parameter("sp"),
                             .services = parameter("ss"),
                             .resource_types = parameter("srt"),
                             .start = parameter("st"),
                             .expiry = parameter("se"),
                             .protocol = parameter("spr"),
                             .version = parameter("sv")};
        return request.parameter("sig") == sign_account_sas(sas, account_, key_);
    }
    const ServiceSas sas{.permissions = parameter("sp"),
                         .start = parameter("st"),
                         .expiry = parameter("se"),
                         .protocol = parameter("spr"),
                         .version = parameter("sv"),
                         .container = request.container,
                         .blob = request.parameter("sr") == "b" ? request.blob : ""};
    return request.parameter("sig") == sign_service_sas(sas, account_, key_);
}

std::string Authentication::issue_token(std::int64_t expires_s) {
    const std::lock_guard guard(mutex_);
    std::array<std::byte, 16> unique;  // So that one that got about is found where it got to.
    CW_ASSERT(::getrandom(unique.data(), unique.size(), 0) == ssize_t{16});
    std::string token = "fake-token-" + std::to_string(++issued_) + "-" + to_hex(unique);
    tokens_[token] = expires_s;
    return token;
}

std::uint64_t Authentication::issue_count() {
    const std::lock_guard guard(mutex_);
    return issued_;
}

void Authentication::revoke_tokens() {
    const std::lock_guard guard(mutex_);
    tokens_.clear();
}

}  // namespace cw::fake_azure
