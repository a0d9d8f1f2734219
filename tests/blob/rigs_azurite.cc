// Rigs of azurite_contract_test. Which Azurite, and with which certificate, is in the environment:
// tests/e2e/azurite_contract.sh starts it and sets
//     CAUSEWAY_AZURITE_HTTP, CAUSEWAY_AZURITE_HTTPS  "http://127.0.0.1:PORT/devstoreaccount1"
//     CAUSEWAY_AZURITE_CA                            PEM
#include "base/random.h"
#include "egress/blob/azure_store.h"
#include "tests/blob/rig.h"
#include "tests/fake_azure/sas.h"

#include <array>
#include <cstdlib>
#include <ctime>

namespace cw::blob {
namespace {

constexpr std::string_view account = "devstoreaccount1";
constexpr std::string_view key_text =  // Public: every emulator has it.
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

enum class Flavour { shared_key, shared_key_https, sas, bearer };

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    CW_ASSERT(value != nullptr);
    return value;
}

std::string base64url(std::string_view text) {
    std::string out = to_base64(as_bytes(text));
    for (char& c : out) {
        c = c == '+' ? '-' : c == '/' ? '_' : c;
    }
    return out.substr(0, out.find('='));
}

// Azurite checks a token's claims and no signature.
std::string make_token() {
    const std::string now = std::to_string(std::time(nullptr) - 60);
    const std::string end = std::to_string(std::time(nullptr) + 3600);
    return base64url(R"({"alg":"RS256","typ":"JWT"})") + "." +
           base64url(R"({"aud":"https://storage.azure.com","iss":"https://sts.windows.net/x/",)"
                     R"("nbf":)" +
                     now + R"(,"iat":)" + now + R"(,"exp":)" + end + "}") +
           ".c2lnbmF0dXJl";
}

std::string make_sas() {
    const std::time_t end = std::time(nullptr) + 3600;
    std::tm parts{};
    gmtime_r(&end, &parts);
    std::array<char, 32> text{};
    (void)std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return fake_azure::make_account_sas({.expiry = text.data()}, std::string(account),
                                        from_base64(key_text).value());
}

AzureOptions options_of(Flavour flavour) {
    AzureOptions options;
    options.crc64 = false;  // Azurite answers 500 FeatureNotSupported.
    options.page_entries = 20;
    const bool tls = flavour == Flavour::shared_key_https || flavour == Flavour::bearer;
    options.url = environment(tls ? "CAUSEWAY_AZURITE_HTTPS" : "CAUSEWAY_AZURITE_HTTP");
    options.ca_file = tls ? environment("CAUSEWAY_AZURITE_CA") : "";
    switch (flavour) {
        case Flavour::shared_key:
        case Flavour::shared_key_https:
            options.auth = AzureAuth::emulator;
            break;
        case Flavour::sas:
            options.auth = AzureAuth::sas;
            options.secret = Secret<std::string>(make_sas());
            break;
        case Flavour::bearer:
            options.auth = AzureAuth::fixed_token;
            options.secret = Secret<std::string>(make_token());
            break;
    }
    return options;
}

class AzuriteRig final : public Rig {
public:
    explicit AzuriteRig(Flavour flavour) {
        std::array<std::byte, 8> unique;
        random_->fill(unique);
        AzureOptions options = options_of(flavour);
        options.url += "/t" + to_hex(unique);  // A prefix of its own is an empty vault.
        auto factory = make_azure_factory(std::move(options), *clock_, *random_);
        CW_ASSERT(factory.has_value());
        factory_ = std::move(*factory);
    }
    StoreFactory& factory() override { return *factory_; }

private:
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_system_random();
    std::unique_ptr<StoreFactory> factory_;
};

RigMaker maker(std::string name, Flavour flavour) {
    return {std::move(name), [flavour] { return std::make_unique<AzuriteRig>(flavour); }};
}

}  // namespace

std::vector<RigMaker> contract_rigs() {
    return {maker("AzuriteSharedKey", Flavour::shared_key),
            maker("AzuriteSharedKeyHttps", Flavour::shared_key_https),
            maker("AzuriteSas", Flavour::sas), maker("AzuriteBearer", Flavour::bearer)};
}

}  // namespace cw::blob
