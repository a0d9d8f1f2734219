#include "base/tls.h"

#include "base/clock.h"
#include "base/disk.h"
#include "base/random.h"
#include "tests/base/tls_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

namespace cw {
namespace {

using testing::HasSubstr;

TEST_F(TlsTest, BothSidesLearnEachOthersIdentity) {
    const Outcome outcome = handshake(files("client"), files("server"));
    ASSERT_TRUE(outcome.client) << to_string(outcome.client.error());
    ASSERT_TRUE(outcome.server) << to_string(outcome.server.error());
    EXPECT_STREQ(SSL_get_version(server_.get()), "TLSv1.3");
    EXPECT_STREQ(SSL_get_cipher(server_.get()), "TLS_AES_256_GCM_SHA384");
    EXPECT_EQ(peer_identity(server_.get()).value(), identity_of(Role::machine));
    EXPECT_EQ(peer_identity(client_.get()).value(), identity_of(Role::process_server));
    EXPECT_EQ(SSL_session_reused(server_.get()), 0);
}

TEST_F(TlsTest, H4_AClientWithoutACertificateIsRefused) {
    server_context_ = TlsContext::server(files("server")).value();
    const SslContext bare = bare_client();
    const Outcome outcome = handshake(bare.get(), server_context_->get());
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::tls_failed);
    EXPECT_THAT(outcome.server.error().detail, HasSubstr("did not return a certificate"));
    EXPECT_EQ(peer_identity(server_.get()).error().code, Errc::identity_refused);
}

TEST_F(TlsTest, H4_AClientOfAnotherCaIsRefused) {
    const Outcome outcome = handshake(files("stranger"), files("server"));
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::tls_failed);
    EXPECT_FALSE(outcome.client);
}

TEST_F(TlsTest, AServerOfAnotherCaIsRefused) {
    issue("other", Role::process_server, "strange-server");
    const Outcome outcome = handshake(files("client"), files("strange-server", "other"));
    ASSERT_FALSE(outcome.client);
    EXPECT_EQ(outcome.client.error().code, Errc::tls_failed);
    EXPECT_THAT(outcome.client.error().detail, HasSubstr("certificate verify failed"));
}

TEST_F(TlsTest, AnExpiredClientIsRefusedAndBothSidesLearnWhy) {
    server_context_ = TlsContext::server(files("server")).value();
    const SslContext client = client_with("URI:" + to_string(identity_of(Role::machine)), -60);
    const Outcome outcome = handshake(client.get(), server_context_->get());
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::certificate_expired);
    EXPECT_THAT(outcome.server.error().detail, HasSubstr("certificate has expired"));
    ASSERT_FALSE(outcome.client);
    EXPECT_EQ(outcome.client.error().code, Errc::certificate_expired);
}

TEST_F(TlsTest, OwnExpiredCertificateIsNotLoaded) {
    CertificateRequest request = request_for(Role::machine);
    request.valid_seconds = 1;
    ASSERT_TRUE(issue_certificate(directory_ + "/ca", request, directory_ + "/short"));
    const auto context = TlsContext::client(files("short"));
    if (context) {  // Still within its second: the figure shown to operators is right.
        EXPECT_LE(context->expires_in_s(static_cast<std::int64_t>(make_system_clock()->wall()) /
                                        1'000'000),
                  1);
    } else {
        EXPECT_EQ(context.error().code, Errc::certificate_expired);
    }
}

TEST_F(TlsTest, ACertificateWithoutExactlyOneOfOurUrisHasNoIdentity) {
    server_context_ = TlsContext::server(files("server")).value();
    const std::string ours = "URI:" + to_string(identity_of(Role::machine));
    for (const std::string& names :
         {std::string(), std::string("DNS:localhost"), ours + ",URI:urn:causeway:operator:x",
          ours + "," + ours, std::string("URI:urn:causeway:root:1"), "DNS:" + ours.substr(4)}) {
        const SslContext client = client_with(names, one_day_s);
        ASSERT_TRUE(handshake(client.get(), server_context_->get()).server) << names;
        const auto identity = peer_identity(server_.get());
        ASSERT_FALSE(identity) << names;
        EXPECT_EQ(identity.error().code, Errc::identity_refused) << names;
    }
    // The same way with one proper name: it is the names that were refused above.
    const SslContext client = client_with(ours, one_day_s);
    ASSERT_TRUE(handshake(client.get(), server_context_->get()).server);
    EXPECT_EQ(peer_identity(server_.get()).value(), identity_of(Role::machine));
}

TEST_F(TlsTest, Tls12IsSpokenOnlyByExplicitSwitch) {
    const SslContext old = bare_client();
    const TlsFiles client = files("client");
    ASSERT_EQ(SSL_CTX_use_certificate_chain_file(old.get(), client.cert_file.c_str()), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey_file(old.get(), client.key_file.c_str(), SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
    TlsFiles server = files("server");
    server_context_ = TlsContext::server(server).value();
    EXPECT_FALSE(handshake(old.get(), server_context_->get()).server);
    server.allow_tls12 = true;
    server_context_ = TlsContext::server(server).value();
    EXPECT_TRUE(handshake(old.get(), server_context_->get()).server);
}

TEST_F(TlsTest, H4_Tls12IsNeverRenegotiated) {
    const SslContext old = bare_client();
    const TlsFiles client = files("client");
    ASSERT_EQ(SSL_CTX_use_certificate_chain_file(old.get(), client.cert_file.c_str()), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey_file(old.get(), client.key_file.c_str(), SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION);
    TlsFiles server = files("server");
    server.allow_tls12 = true;
    server_context_ = TlsContext::server(server).value();
    ASSERT_TRUE(handshake(old.get(), server_context_->get()).server);
    ASSERT_EQ(SSL_renegotiate(client_.get()), 1);
    (void)SSL_do_handshake(client_.get());  // Sends its new hello.
    char byte = 0;
    (void)SSL_read(server_.get(), &byte, 1);
    EXPECT_EQ(SSL_num_renegotiations(server_.get()), 0);
    EXPECT_NE(SSL_do_handshake(client_.get()), 1);
    (void)tls_error("renegotiation");  // Empties the queue for the next test.
}

TEST_F(TlsTest, AKeyThatOthersMayReadIsRefused) {
    issue("ca", Role::machine, "open");
    const std::string key = directory_ + "/open.key";
    ASSERT_TRUE(TlsContext::client(files("open")));
    ASSERT_EQ(chmod(key.c_str(), 0640), 0);
    const auto context = TlsContext::client(files("open"));
    ASSERT_FALSE(context);
    EXPECT_EQ(context.error().code, Errc::tls_failed);
    EXPECT_THAT(context.error().detail, HasSubstr("0600"));
}

TEST_F(TlsTest, FilesThatDoNotFitAreRefused) {
    TlsFiles mixed = files("client");
    mixed.key_file = directory_ + "/server.key";
    EXPECT_EQ(TlsContext::client(mixed).error().code, Errc::tls_failed);
    EXPECT_EQ(TlsContext::client(files("absent")).error().code, Errc::tls_failed);
    TlsFiles no_ca = files("client");
    no_ca.ca_file = directory_ + "/absent";
    EXPECT_EQ(TlsContext::server(no_ca).error().code, Errc::tls_failed);
}

}  // namespace
}  // namespace cw
