// What enrolment needs of tokens and of TLS.
#include "base/enrolment.h"

#include "base/random.h"
#include "tests/base/tls_fixture.h"

namespace cw {
namespace {

EnrolmentToken some_token() {
    EnrolmentToken token;
    TokenSecret secret;
    make_seeded_random(7)->fill(secret);
    token.secret = Secret(secret);
    token.authority.fill(std::byte{0xa5});
    return token;
}

TEST(Token, RoundTripsWithWhiteSpaceAroundIt) {
    const EnrolmentToken token = some_token();
    const std::string text = token_text(token).reveal();
    for (const std::string& given : {text, text + "\n", "  " + text + "\r\n"}) {
        const auto parsed = parse_token(given);
        ASSERT_TRUE(parsed);
        EXPECT_EQ(parsed->secret.reveal(), token.secret.reveal());
        EXPECT_EQ(parsed->authority, token.authority);
    }
}

TEST(Token, OtherTextIsRefusedAndNotRepeated) {
    const std::string text = token_text(some_token()).reveal();
    for (const std::string& bad :
         {std::string(), std::string("\n"), text.substr(1), text + "0", text.substr(0, 40),
          "cwenrol2" + text.substr(8), text.substr(0, 20) + "g" + text.substr(21),
          text.substr(0, 49) + "_" + text.substr(50), std::string(10'000, 'a'),
          std::string(1, '\0') + text}) {
        const auto parsed = parse_token(bad);
        ASSERT_FALSE(parsed) << bad;
        EXPECT_EQ(parsed.error().code, Errc::token_refused);
        EXPECT_EQ(parsed.error().detail.find("cwenrol"), std::string::npos);
    }
}

class EnrolmentTls : public TlsTest {
protected:
    // A server that shows `name`'s certificate and the CA it comes from.
    SslContext showing(const std::string& name, const std::string& ca) {
        SslContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
        CW_ASSERT(TlsContext::set_up(*context, files(name, ca)));
        auto digest = show_authority(*context);
        CW_ASSERT(digest.has_value());
        shown_ = *digest;
        admit_without_certificate(*context);
        return context;
    }
    SslContext pinning(PinnedAuthority& pinned) {
        SslContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
        pin_authority(*context, pinned);
        offer_enrolment(*context);
        return context;
    }
    Sha256 shown_{};
};

TEST_F(EnrolmentTls, ABareMachineMeetsTheServerItsTokenNames) {
    const SslContext server = showing("server", "ca");
    PinnedAuthority pinned{.digest = shown_};
    const Outcome outcome = handshake(pinning(pinned).get(), server.get());
    EXPECT_TRUE(outcome.client) << to_string(outcome.client.error());
    EXPECT_TRUE(outcome.server);
    EXPECT_TRUE(speaks_enrolment(server_.get()));
    EXPECT_FALSE(pinned.refused);
}

TEST_F(EnrolmentTls, AnotherCaIsRefusedInTheHandshake) {
    issue("other", Role::process_server, "impostor");
    const Sha256 ours = (static_cast<void>(showing("server", "ca")), shown_);
    const SslContext server = showing("impostor", "other");
    PinnedAuthority pinned{.digest = ours};
    const Outcome outcome = handshake(pinning(pinned).get(), server.get());
    EXPECT_FALSE(outcome.client);
    EXPECT_FALSE(outcome.server);
    EXPECT_TRUE(pinned.refused);
}

TEST_F(EnrolmentTls, AnImpostorThatShowsOurCaIsRefused) {
    issue("other", Role::process_server, "impostor");
    const Sha256 ours = (static_cast<void>(showing("server", "ca")), shown_);
    const SslContext server = showing("impostor", "other");
    const openssl::Certificate ca(
        PEM_read_bio_X509(open_pem("/ca/ca.crt").get(), nullptr, nullptr, nullptr));
    ASSERT_EQ(SSL_CTX_add1_chain_cert(server.get(), ca.get()), 1);
    PinnedAuthority pinned{.digest = ours};
    const Outcome outcome = handshake(pinning(pinned).get(), server.get());
    EXPECT_FALSE(outcome.client);
    EXPECT_FALSE(pinned.refused) << "the CA was there; the signature is what must have failed";
}

TEST_F(EnrolmentTls, AMachineOfTheSameSiteIsNotTakenForTheServer) {
    const SslContext server = showing("client", "ca");
    PinnedAuthority pinned{.digest = shown_};
    EXPECT_FALSE(handshake(pinning(pinned).get(), server.get()).client);
}

TEST_F(EnrolmentTls, ACertificateThatIsShownIsVerified) {
    const SslContext server = showing("server", "ca");
    PinnedAuthority pinned{.digest = shown_};
    const SslContext client = pinning(pinned);
    const TlsFiles stranger = files("stranger");
    ASSERT_EQ(SSL_CTX_use_certificate_chain_file(client.get(), stranger.cert_file.c_str()), 1);
    ASSERT_EQ(
        SSL_CTX_use_PrivateKey_file(client.get(), stranger.key_file.c_str(), SSL_FILETYPE_PEM), 1);
    EXPECT_FALSE(handshake(client.get(), server.get()).server);
}

TEST_F(EnrolmentTls, ARepeatedRequestIsForTheSameKey) {
    const auto disk = make_posix_disk();
    const std::string key = directory_ + "/again.key";
    const Sha256 first = request_key_digest(request_certificate(key).value()).value();
    EXPECT_EQ(request_key_digest(request_for_key(*disk, key).value()).value(), first);
    EXPECT_NE(request_key_digest(request_certificate(key).value()).value(), first);
    EXPECT_EQ(request_key_digest("nonsense").error().code, Errc::usage);
    EXPECT_EQ(request_key_digest(std::string(100'000, 'x')).error().code, Errc::usage);
}

TEST_F(EnrolmentTls, ASignerMustBeTrustedAndPrivate) {
    EXPECT_TRUE(check_signer(directory_ + "/ca", directory_ + "/ca/ca.crt"));
    EXPECT_EQ(check_signer(directory_ + "/ca", directory_ + "/other/ca.crt").error().code,
              Errc::config_invalid);
    CW_ASSERT(create_ca(directory_ + "/open", "Open CA", one_day_s));
    std::filesystem::permissions(
        directory_ + "/open/ca.key",
        std::filesystem::perms::group_read | std::filesystem::perms::owner_read);
    EXPECT_EQ(check_signer(directory_ + "/open", directory_ + "/open/ca.crt").error().code,
              Errc::config_invalid);
}

}  // namespace
}  // namespace cw
