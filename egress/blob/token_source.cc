#include "egress/blob/token_source.h"

#include "base/log.h"
#include "base/net.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace cw::blob {
namespace {

constexpr std::string_view resource = "https://storage.azure.com/";
constexpr std::size_t token_bytes_max = 64 * 1024, challenge_bytes_max = 4096;
constexpr std::int64_t margin_s = 5 * 60;  // Refresh at half life, or with this much left.

std::optional<std::int64_t> seconds_of(const nlohmann::json& object, const char* key) {
    if (!object.contains(key)) {
        return std::nullopt;
    }
    const nlohmann::json& value = object[key];
    std::optional<std::uint64_t> seconds;
    if (value.is_number_unsigned()) {
        seconds = value.get<std::uint64_t>();
    } else if (value.is_string()) {
        seconds = parse_decimal(value.get_ref<const std::string&>());
    }
    if (!seconds || *seconds > 100'000'000) {
        return std::nullopt;
    }
    return static_cast<std::int64_t>(*seconds);
}

// Splits "http://host:port/path" for HttpRequest.
void set_url(HttpRequest& request, const std::string& url) {
    const std::size_t scheme = url.find("://");
    const std::size_t slash =
        scheme == std::string::npos ? std::string::npos : url.find('/', scheme + 3);
    request.origin = url.substr(0, slash);
    request.path = slash == std::string::npos ? "/" : url.substr(slash);
}

Result<std::optional<Token>> token_from(const HttpReply& reply, Nanos now) {
    if (reply.transport != Transport::answered) {
        return fail(Errc::blob_unavailable, "identity endpoint: " + reply.detail);
    }
    if (reply.status == 200) {
        CW_TRY_ASSIGN(Token token, parse_token(reply.body, now));
        return std::optional<Token>(std::move(token));
    }
    // The body may echo what was sent: only the status is shown.
    const bool later =
        reply.status == 404 || reply.status == 410 || reply.status == 429 || reply.status >= 500;
    return fail(later ? Errc::blob_unavailable : Errc::blob_auth,
                "identity endpoint answered status " + std::to_string(reply.status));
}

class ManagedIdentityAttempt final : public TokenAttempt {
public:
    ManagedIdentityAttempt(const std::string& endpoint, const std::string& client_id) {
        set_url(request_, endpoint);
        request_.path = "/metadata/identity/oauth2/token";
        request_.query = {{"api-version", "2018-02-01"}, {"resource", std::string(resource)}};
        if (!client_id.empty()) {
            request_.query.emplace_back("client_id", client_id);
        }
        request_.headers = {{"metadata", "true"}};
        request_.use_proxy = false;  // The service refuses requests that came through one.
    }
    HttpRequest request() override { return std::move(request_); }
    Result<std::optional<Token>> take(const HttpReply& reply, Nanos now) override {
        return token_from(reply, now);
    }

private:
    HttpRequest request_;
};

// Reads the challenge file named by the endpoint, if it lies where the Arc agent puts such files.
Result<Secret<std::string>> read_challenge(const std::string& path, const std::string& directory) {
    const bool inside = path.starts_with(directory + "/") && path.ends_with(".key") &&
                        path.find('/', directory.size() + 1) == std::string::npos;
    if (!inside) {
        return fail(Errc::blob_auth, "the Arc challenge names a file outside " + directory + ": " +
                                         escape_for_display(path, 128));
    }
    const Fd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) {
        return fail_errno(Errc::blob_auth, "read the Arc challenge (is this user in himds?)",
                          errno);
    }
    std::string text(challenge_bytes_max + 1, '\0');
    const ssize_t n = ::read(fd.get(), text.data(), text.size());
    if (n <= 0 || static_cast<std::size_t>(n) > challenge_bytes_max) {
        wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
        return fail(Errc::blob_auth, "the Arc challenge file is empty or too large");
    }
    Secret<std::string> secret(text.substr(0, static_cast<std::size_t>(n)));
    wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
    return secret;
}

class ArcAttempt final : public TokenAttempt {
public:
    ArcAttempt(std::string endpoint, std::string key_directory)
        : endpoint_(std::move(endpoint)), key_directory_(std::move(key_directory)) {}
    HttpRequest request() override {
        HttpRequest request;
        set_url(request, endpoint_);
        request.query = {{"api-version", "2019-11-01"}, {"resource", std::string(resource)}};
        request.headers = {{"metadata", "true"}};
        request.use_proxy = false;
        request.authorization = std::move(challenge_);
        return request;
    }
    Result<std::optional<Token>> take(const HttpReply& reply, Nanos now) override {
        constexpr std::string_view realm = "Basic realm=";
        const std::string_view asked = header_of(reply.headers, "www-authenticate");
        if (answered_challenge_ || reply.transport != Transport::answered || reply.status != 401 ||
            !asked.starts_with(realm)) {
            return token_from(reply, now);
        }
        answered_challenge_ = true;
        const std::string path(asked.substr(realm.size()));
        CW_TRY_ASSIGN(const Secret<std::string> key, read_challenge(path, key_directory_));
        challenge_ = Secret<std::string>("Basic " + key.reveal());
        return std::optional<Token>{};
    }

private:
    std::string endpoint_, key_directory_;
    Secret<std::string> challenge_;
    bool answered_challenge_ = false;
};

class ClientSecretAttempt final : public TokenAttempt {
public:
    ClientSecretAttempt(const std::string& authority, const std::string& tenant,
                        const std::string& client_id, const Secret<std::string>& secret) {
        set_url(request_, authority);
        request_.method = "POST";
        request_.path = "/" + percent_encode(tenant) + "/oauth2/v2.0/token";
        request_.headers = {{"content-type", "application/x-www-form-urlencoded"}};
        request_.form = Secret<std::string>(
            "grant_type=client_credentials&client_id=" + percent_encode(client_id) +
            "&scope=" + percent_encode(std::string(resource) + ".default") +
            "&client_secret=" + percent_encode(secret.reveal()));
    }
    HttpRequest request() override { return std::move(request_); }
    Result<std::optional<Token>> take(const HttpReply& reply, Nanos now) override {
        return token_from(reply, now);
    }

private:
    HttpRequest request_;
};

class ManagedIdentitySource final : public TokenSource {
public:
    ManagedIdentitySource(std::string endpoint, std::string client_id)
        : endpoint_(std::move(endpoint)), client_id_(std::move(client_id)) {}
    std::unique_ptr<TokenAttempt> begin() override {
        return std::make_unique<ManagedIdentityAttempt>(endpoint_, client_id_);
    }

private:
    const std::string endpoint_, client_id_;
};

class ArcSource final : public TokenSource {
public:
    ArcSource(std::string endpoint, std::string key_directory)
        : endpoint_(std::move(endpoint)), key_directory_(std::move(key_directory)) {}
    std::unique_ptr<TokenAttempt> begin() override {
        return std::make_unique<ArcAttempt>(endpoint_, key_directory_);
    }

private:
    const std::string endpoint_, key_directory_;
};

class ClientSecretSource final : public TokenSource {
public:
    ClientSecretSource(std::string authority, std::string tenant, std::string client_id,
                       Secret<std::string> secret)
        : authority_(std::move(authority)),
          tenant_(std::move(tenant)),
          client_id_(std::move(client_id)),
          secret_(std::move(secret)) {}
    std::unique_ptr<TokenAttempt> begin() override {
        return std::make_unique<ClientSecretAttempt>(authority_, tenant_, client_id_, secret_);
    }

private:
    const std::string authority_, tenant_, client_id_;
    const Secret<std::string> secret_;
};

}  // namespace

std::unique_ptr<TokenSource> make_managed_identity_source(std::string endpoint,
                                                          std::string client_id) {
    return std::make_unique<ManagedIdentitySource>(std::move(endpoint), std::move(client_id));
}

std::unique_ptr<TokenSource> make_arc_source(std::string endpoint, std::string key_directory) {
    return std::make_unique<ArcSource>(std::move(endpoint), std::move(key_directory));
}

std::unique_ptr<TokenSource> make_client_secret_source(std::string authority, std::string tenant,
                                                       std::string client_id,
                                                       Secret<std::string> secret) {
    return std::make_unique<ClientSecretSource>(std::move(authority), std::move(tenant),
                                                std::move(client_id), std::move(secret));
}

Result<Token> parse_token(Bytes body, Nanos now) {
    const auto json = nlohmann::json::parse(as_text(body), nullptr, false);
    if (!json.is_object() || !json.contains("access_token") || !json["access_token"].is_string()) {
        return fail(Errc::blob_auth, "the identity endpoint sent no token");
    }
    const auto& text = json["access_token"].get_ref<const std::string&>();
    const auto life_s = seconds_of(json, "expires_in");
    const bool plain = !text.empty() && text.size() <= token_bytes_max &&
                       std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
    if (!plain || !life_s || *life_s == 0) {
        return fail(Errc::blob_auth, "the identity endpoint sent a malformed token");
    }
    const std::int64_t half_s = *life_s / 2;
    const std::int64_t late_s = std::max<std::int64_t>(*life_s - margin_s, 0);
    const std::int64_t early_s = std::min(half_s, late_s);
    const std::int64_t refresh_s =
        std::min(seconds_of(json, "refresh_in").value_or(early_s), *life_s);
    Token token;
    token.value = Secret<std::string>(text);
    token.expires = now + *life_s * ns_per_s;
    token.refresh = now + refresh_s * ns_per_s;
    return token;
}

}  // namespace cw::blob
