#include "egress/blob/azure_credentials.h"

#include "base/bytes.h"

#include <array>

namespace cw::blob {
namespace {

constexpr std::string_view emulator_key =  // Public: every emulator has it.
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

std::string or_default(const std::string& text, std::string_view fallback) {
    return text.empty() ? std::string(fallback) : text;
}

Result<Secret<std::string>> decode_key(std::string_view text) {
    auto key = from_base64(text);
    if (!key || key->empty()) {
        return fail(Errc::config_invalid, "the account key is not base64");
    }
    Secret<std::string> decoded{std::string(as_text(*key))};
    wipe(*key);
    return decoded;
}

}  // namespace

Result<std::unique_ptr<Authorizer>> make_authorizer(const AzureOptions& options,
                                                    const std::string& account) {
    const auto needs = [](bool present, const char* what) -> Result<void> {
        return present ? Result<void>{} : fail(Errc::config_invalid, what);
    };
    const bool has_secret = !options.secret.reveal().empty();
    switch (options.auth) {
        case AzureAuth::managed_identity:
            return make_bearer_authorizer(make_managed_identity_source(
                or_default(options.identity_endpoint, "http://169.254.169.254"),
                options.client_id));
        case AzureAuth::arc:
            return make_bearer_authorizer(
                make_arc_source(or_default(options.identity_endpoint,
                                           "http://127.0.0.1:40342/metadata/identity/oauth2/token"),
                                options.arc_key_directory));
        case AzureAuth::client_secret:
            CW_TRY(needs(has_secret && !options.tenant.empty() && !options.client_id.empty(),
                         "client-secret needs tenant, client id and secret"));
            return make_bearer_authorizer(make_client_secret_source(
                or_default(options.identity_endpoint, "https://login.microsoftonline.com"),
                options.tenant, options.client_id, options.secret.clone()));
        case AzureAuth::sas:
            CW_TRY(needs(has_secret, "sas needs the signature"));
            return make_sas_authorizer(options.secret.clone());
        case AzureAuth::fixed_token:
            CW_TRY(needs(has_secret, "fixed-token needs the token"));
            return make_fixed_token_authorizer(options.secret.clone());
        case AzureAuth::shared_key: {
            CW_TRY(needs(has_secret, "shared-key needs the account key"));
            CW_TRY_ASSIGN(Secret<std::string> key, decode_key(options.secret.reveal()));
            return make_shared_key_authorizer(account, std::move(key));
        }
        case AzureAuth::emulator: {
            CW_TRY_ASSIGN(Secret<std::string> key, decode_key(emulator_key));
            return make_shared_key_authorizer(account, std::move(key));
        }
    }
    return fail(Errc::config_invalid, "unknown authentication");
}

Result<AzureAuth> parse_azure_auth(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, AzureAuth>, 7> names{{
        {"managed-identity", AzureAuth::managed_identity},
        {"arc", AzureAuth::arc},
        {"client-secret", AzureAuth::client_secret},
        {"sas", AzureAuth::sas},
        {"shared-key", AzureAuth::shared_key},
        {"fixed-token", AzureAuth::fixed_token},
        {"emulator", AzureAuth::emulator},
    }};
    for (const auto& [name, auth] : names) {
        if (name == text) {
            return auth;
        }
    }
    return fail(Errc::config_invalid, "unknown vault auth");
}

}  // namespace cw::blob
