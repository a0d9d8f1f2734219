// Credentials: where tokens come from, when they are renewed, and what never leaks.
#include "egress/blob/credential_gate.h"
#include "egress/blob/retry_store.h"
#include "tests/blob/azure_fixture.h"
#include "tests/fake_azure/certificate.h"

#include <filesystem>

#include <unistd.h>

namespace cw::blob {
namespace {

using fake_azure::Action;

struct Directory {
    std::string path = testing::TempDir() + "cw-blob-auth-" + std::to_string(::getpid());
    Directory() { std::filesystem::create_directories(path); }
    ~Directory() { std::filesystem::remove_all(path); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
};

const Directory& directory() {
    static const Directory made;
    return made;
}

fake_azure::FakeAzureOptions tls_options() {
    static const fake_azure::CertificateFiles files =
        fake_azure::make_certificate(directory().path);
    fake_azure::FakeAzureOptions options;
    options.certificate = files.certificate;
    options.key = files.key;
    options.arc_key_file = directory().path + "/challenge.key";
    return options;
}

class AzureTokens : public AzureTest {
protected:
    AzureTokens() : AzureTest(tls_options()) {}

    AzureOptions bearer(AzureAuth auth) {
        AzureOptions options;
        options.url = fake_.url();
        options.auth = auth;
        options.ca_file = directory().path + "/fake-azure.crt";
        options.identity_endpoint = fake_.origin();
        return options;
    }
    std::uint64_t tokens_fetched() { return fake_.issue_count(); }
    void expect_refused(const PutResult& result, Errc code) {
        EXPECT_EQ(result.outcome, PutOutcome::refused);
        ASSERT_TRUE(result.error);
        EXPECT_EQ(name_of(result.error->code), name_of(code)) << to_string(*result.error);
    }
};

TEST_F(AzureTokens, ManagedIdentityFetchesOneTokenForAllStores) {
    const auto store = ready(bearer(AzureAuth::managed_identity));
    const auto second = factory_->make(), third = factory_->make();
    for (const auto& s : {store.get(), second.get(), third.get()}) {
        EXPECT_TRUE(list_all(*s, Container::data, ""));
    }
    EXPECT_EQ(tokens_fetched(), 1U);
}

TEST_F(AzureTokens, ArcAnswersItsChallenge) {
    AzureOptions options = bearer(AzureAuth::arc);
    options.identity_endpoint = fake_.origin() + "/metadata/identity/oauth2/token";
    options.arc_key_directory = directory().path;
    const auto store = ready(std::move(options));
    EXPECT_EQ(put_and_wait(*store, put_of("x", "y")).outcome, PutOutcome::stored);
}

TEST_F(AzureTokens, ArcChallengeOutsideItsDirectoryIsRefused) {
    AzureOptions options = bearer(AzureAuth::arc);
    options.identity_endpoint = fake_.origin() + "/metadata/identity/oauth2/token";
    options.arc_key_directory = "/var/opt/azcmagent/tokens";
    const auto store = open(std::move(options));
    expect_refused(put_and_wait(*store, put_of("x", "y")), Errc::blob_auth);
}

TEST_F(AzureTokens, ClientSecretIsPostedAndAWrongOneIsAnAuthError) {
    AzureOptions options = bearer(AzureAuth::client_secret);
    options.tenant = "contoso";
    options.client_id = "app";
    options.secret = Secret<std::string>("correct horse");
    EXPECT_EQ(put_and_wait(*ready(std::move(options)), put_of("x", "y")).outcome,
              PutOutcome::stored);
    AzureOptions wrong = bearer(AzureAuth::client_secret);
    wrong.tenant = "contoso";
    wrong.client_id = "app";
    wrong.secret = Secret<std::string>("canary-secret");
    const PutResult result = put_and_wait(*open(std::move(wrong)), put_of("z", "y"));
    expect_refused(result, Errc::blob_auth);
    EXPECT_EQ(to_string(*result.error).find("canary-secret"), std::string::npos);
}

TEST_F(AzureTokens, TokenIsRenewedAtHalfItsLifeWhileTheOldOneServes) {
    const auto store = ready(bearer(AzureAuth::managed_identity));
    fake_.faults().replace({{.op = "token", .action = Action::error, .status = 500}});
    clock_.advance(1801 * ns_per_s);
    // The endpoint is down, but the token is good for another half hour.
    EXPECT_EQ(put_and_wait(*store, put_of("a", "y")).outcome, PutOutcome::stored);
    fake_.faults().replace({});
    clock_.advance(31 * ns_per_s);
    EXPECT_EQ(put_and_wait(*store, put_of("b", "y")).outcome, PutOutcome::stored);
    for (int i = 0; i < 1000 && tokens_fetched() < 2; ++i) {
        store->wait(5 * ns_per_ms, -1);
        store->poll();
    }
    EXPECT_EQ(tokens_fetched(), 2U);
}

TEST_F(AzureTokens, RefusedTokenIsRenewedOnceAndTheRequestRepeatedOnce) {
    const auto store = ready(bearer(AzureAuth::managed_identity));
    clock_.advance(2 * ns_per_s);
    fake_.revoke_tokens();
    EXPECT_EQ(put_and_wait(*store, put_of("x", "y")).outcome, PutOutcome::stored);
    EXPECT_EQ(tokens_fetched(), 2U);
    EXPECT_EQ(fake_.stats().count("put_blob"), 2U);
}

TEST_F(AzureTokens, TokenRefusedForEverIsNotHammered) {
    const auto store = ready(bearer(AzureAuth::managed_identity));
    clock_.advance(2 * ns_per_s);
    for (const Action action : {Action::expired_401, Action::expired_403}) {
        fake_.reset_stats();
        fault({.op = "put_blob", .action = action});
        expect_refused(put_and_wait(*store, put_of("x", "y")), Errc::blob_auth);
        EXPECT_EQ(fake_.stats().count("put_blob"), 2U);
        clock_.advance(credential_probe_ns + ns_per_s);
    }
}

TEST_F(AzureTokens, D7ARefusedTokenIsRenewedOnceAndTriedByOne) {
    const auto first = ready(bearer(AzureAuth::managed_identity));
    const auto second = factory_->make();
    const auto put_by_both = [&](const std::string& round) {
        int done = 0, stored = 0;
        for (int i = 0; i < 8; ++i) {
            BlobStore& store = i % 2 == 0 ? *first : *second;
            store.put(put_of(round + std::to_string(i), "body"), [&](const PutResult& result) {
                ++done;
                stored += result.outcome == PutOutcome::stored ? 1 : 0;
            });
        }
        while (done < 8) {  // Every operation has a deadline.
            for (BlobStore* const store : {first.get(), second.get()}) {
                store->wait(10 * ns_per_ms, -1);
                store->poll();
            }
        }
        return stored;
    };
    clock_.advance(2 * ns_per_s);
    fault({.op = "put_blob", .action = Action::expired_401});
    const std::uint64_t tokens = tokens_fetched();
    EXPECT_EQ(put_by_both("a"), 0);
    EXPECT_EQ(tokens_fetched(), tokens + 1);
    EXPECT_LE(fake_.stats().count("put_blob"), 8U + 1U);  // All at once, and one with the new.
    fake_.reset_stats();
    clock_.advance(credential_probe_ns);
    EXPECT_EQ(put_by_both("b"), 0);
    EXPECT_EQ(fake_.stats().count("put_blob"), 2U);  // With the token there was, and a new one.
    fake_.faults().replace({});
    clock_.advance(credential_probe_ns);
    EXPECT_EQ(put_by_both("c"), 8);
}

TEST_F(AzureTokens, IdentityEndpointThatIsDownIsUnavailableNotDenied) {
    fake_.faults().replace({{.op = "token", .action = Action::error, .status = 503}});
    const auto store = open(bearer(AzureAuth::managed_identity));
    expect_refused(put_and_wait(*store, put_of("x", "y")), Errc::blob_unavailable);
}

TEST_F(AzureTokens, UntrustedCertificateIsATlsErrorAndNothingIsSent) {
    AzureOptions options = bearer(AzureAuth::fixed_token);
    options.secret = Secret<std::string>("t");
    options.ca_file = {};
    const auto store = open(std::move(options));
    expect_refused(put_and_wait(*store, put_of("x", "y")), Errc::tls_failed);
    EXPECT_EQ(fake_.stats().count("*"), 0U);
}

TEST_F(AzureTokens, D17_AServiceThatCannotProveItselfIsShownAsSuch) {
    AzureOptions options = bearer(AzureAuth::fixed_token);
    options.secret = Secret<std::string>("t");
    options.ca_file = {};
    auto azure = make_azure_factory(std::move(options), clock_, *random_);
    ASSERT_TRUE(azure);
    Conditions conditions(clock_);
    const auto metrics = make_metric_registry();
    RetryOptions retry;
    retry.conditions = &conditions;
    const auto factory = make_retry_factory(std::move(*azure), retry, clock_, *random_, *metrics);
    auto store = factory->make();
    store->put(put_of("x", "y"), [](const PutResult&) {});
    // Time is the real one and these steps: a slow machine only needs fewer of them.
    for (int i = 0; i < 2000 && !conditions.standing(Errc::tls_failed); ++i) {
        store->wait(5 * ns_per_ms, -1);
        store->poll();
        clock_.advance(20 * ns_per_ms);
    }
    EXPECT_TRUE(conditions.standing(Errc::tls_failed));
    EXPECT_EQ(fake_.stats().count("*"), 0U);
    store.reset();
    EXPECT_TRUE(conditions.list().empty());
}

class AzureKeys : public AzureTest {
protected:
    AzureOptions sas(std::string text) {
        AzureOptions options;
        options.url = fake_.url();
        options.auth = AzureAuth::sas;
        options.secret = Secret<std::string>(std::move(text));
        return options;
    }
};

TEST_F(AzureKeys, WrongKeyIsAnAuthErrorAndNotRepeated) {
    AzureOptions options = shared_key();
    options.secret = Secret<std::string>("d3Jvbmc=");
    const auto store = open(std::move(options));
    const PutResult result = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(name_of(result.error->code), name_of(Errc::blob_auth));
    EXPECT_EQ(fake_.stats().count("put_blob"), 1U);
}

TEST_F(AzureKeys, SasRightsAreTheServicesBusiness) {
    ASSERT_TRUE(ready(shared_key()));
    const auto reader = open(sas("?" + fake_.account_sas("rl")));
    EXPECT_TRUE(list_all(*reader, Container::data, ""));
    const PutResult denied = put_and_wait(*reader, put_of("x", "y"));
    EXPECT_EQ(name_of(denied.error->code), name_of(Errc::blob_denied));
    const auto one = open(sas(fake_.service_sas("data")));
    EXPECT_EQ(put_and_wait(*one, put_of("x", "y")).outcome, PutOutcome::stored);
    EXPECT_EQ(name_of(list_all(*one, Container::keys, "").error().code), name_of(Errc::blob_auth));
}

TEST_F(AzureKeys, H9_SecretsNeverAppearInErrorsOrNames) {
    const std::string signature = fake_.account_sas("r");
    const auto store = open(sas(signature));
    const std::string secret = signature.substr(signature.find("sig=") + 4);
    const PutResult denied = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(to_string(*denied.error).find(secret), std::string::npos);
    EXPECT_EQ(factory_->describe().find("sig"), std::string::npos);
    fake_.faults().replace({{.action = Action::drop}});
    const PutResult lost = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(to_string(*lost.error).find(secret), std::string::npos);
}

TEST_F(AzureKeys, D20_NothingIsWrittenAtTheAddressOfASecondaryRegion) {
    AzureOptions options = shared_key();
    options.url.insert(options.url.find(fake_azure::test_account) +
                           std::string_view(fake_azure::test_account).size(),
                       secondary_suffix);
    const auto store = open(std::move(options));
    const PutResult put = put_and_wait(*store, put_of("x", "y"));
    EXPECT_EQ(put.outcome, PutOutcome::refused);
    EXPECT_EQ(put.error->code, Errc::config_invalid);
    EXPECT_NE(put.error->detail.find("secondary"), std::string::npos) << put.error->detail;
    const auto created = create_containers_and_wait(*store);
    EXPECT_FALSE(created);
    const auto removed = remove_and_wait(*store, {Container::data, "x"});
    EXPECT_FALSE(removed);
    EXPECT_EQ(fake_.stats().count("*"), 0U);
}

TEST_F(AzureKeys, ConfigurationMistakesAreNamedBeforeAnyRequest) {
    const auto error_of = [this](AzureOptions options) {
        const auto factory = make_azure_factory(std::move(options), clock_, *random_);
        return factory ? std::optional<Errc>{} : factory.error().code;
    };
    AzureOptions no_key = shared_key();
    no_key.secret = {};
    EXPECT_EQ(error_of(std::move(no_key)), Errc::config_invalid);
    AzureOptions bad_key = shared_key();
    bad_key.secret = Secret<std::string>("***");
    EXPECT_EQ(error_of(std::move(bad_key)), Errc::config_invalid);
    EXPECT_EQ(error_of(sas("")), Errc::config_invalid);
    AzureOptions bad_url = shared_key();
    bad_url.url = "https://x";
    EXPECT_EQ(error_of(std::move(bad_url)), Errc::config_invalid);
    EXPECT_FALSE(parse_azure_auth("password"));
    EXPECT_EQ(parse_azure_auth("managed-identity"), AzureAuth::managed_identity);
}

}  // namespace
}  // namespace cw::blob
