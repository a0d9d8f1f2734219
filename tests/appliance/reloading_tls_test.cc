// A certificate that changes while an HTTP server listens.
#include "appliance/reloading_tls.h"

#include "base/enrolment.h"
#include "tests/base/tls_fixture.h"

namespace cw::appliance {
namespace {

class ReloadingTlsTest : public TlsTest {
protected:
    void SetUp() override {
        issue("ca", Role::process_server, "first");
        issue("ca", Role::process_server, "second");
        issue("ca", Role::operator_, "operator");
        ASSERT_TRUE(tls_.serve(*listening_, files("first")));
    }
    Outcome connect(const TlsFiles& client) {
        const auto context = TlsContext::client(client);
        CW_ASSERT(context.has_value());
        return handshake(context->get(), listening_.get());
    }
    // Whether the client of the last handshake was shown this certificate.
    bool was_shown(const std::string& name) {
        const openssl::Certificate wanted(
            PEM_read_bio_X509(open_pem("/" + name + ".crt").get(), nullptr, nullptr, nullptr));
        const X509* const shown = SSL_get0_peer_certificate(client_.get());
        return wanted && shown != nullptr && X509_cmp(wanted.get(), shown) == 0;
    }

    ReloadingTls tls_{Role::operator_};
    SslContext listening_{SSL_CTX_new(TLS_server_method()), SSL_CTX_free};
};

TEST_F(ReloadingTlsTest, HandshakesShowWhatWasLoadedLast) {
    ASSERT_TRUE(connect(files("operator")).server);
    EXPECT_TRUE(was_shown("first"));
    ASSERT_TRUE(tls_.load(files("second")));
    ASSERT_TRUE(connect(files("operator")).server);
    EXPECT_TRUE(was_shown("second"));
}

TEST_F(ReloadingTlsTest, AConnectionThatStandsKeepsWhatItBeganWith) {
    ASSERT_TRUE(connect(files("operator")).server);
    ASSERT_TRUE(tls_.load(files("second")));
    ASSERT_EQ(SSL_write(server_.get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(SSL_read(client_.get(), &byte, 1), 1);
    EXPECT_TRUE(was_shown("first"));
}

TEST_F(ReloadingTlsTest, WhatCannotBeLoadedChangesNothing) {
    EXPECT_EQ(tls_.load(files("missing")).error().code, Errc::tls_failed);
    ASSERT_TRUE(connect(files("operator")).server);
    EXPECT_TRUE(was_shown("first"));
}

TEST_F(ReloadingTlsTest, TakesTheCertificateAuthoritiesThatWereLoadedLast) {
    issue("other", Role::operator_, "foreign");
    TlsFiles foreign = files("foreign");  // It believes this server, but not the other way round.
    EXPECT_FALSE(connect(foreign).server);
    ASSERT_TRUE(tls_.load(files("second", "other")));
    EXPECT_TRUE(connect(foreign).server);
}

TEST_F(ReloadingTlsTest, OtherRolesAreRefusedBeforeAndAfterALoad) {
    issue("ca", Role::machine, "machine");
    EXPECT_FALSE(connect(files("machine")).server);
    ASSERT_TRUE(tls_.load(files("second")));
    EXPECT_FALSE(connect(files("machine")).server);
}

// Who names the protocol of enrolment, and with what.
class StrangersTest : public ReloadingTlsTest {
protected:
    void SetUp() override {
        ReloadingTlsTest::SetUp();
        ASSERT_TRUE(with_enrolment_.serve(*door_, files("first")));
        issue("ca", Role::machine, "machine");
    }
    // `name` empty: without a certificate.
    Outcome come(const std::string& name, std::string_view protocol, SSL_CTX* door) {
        const SslContext client(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
        if (!name.empty()) {
            CW_ASSERT(SSL_CTX_use_certificate_chain_file(client.get(),
                                                         files(name).cert_file.c_str()) == 1);
            CW_ASSERT(SSL_CTX_use_PrivateKey_file(client.get(), files(name).key_file.c_str(),
                                                  SSL_FILETYPE_PEM) == 1);
        }
        if (!protocol.empty()) {
            const std::string list = static_cast<char>(protocol.size()) + std::string(protocol);
            CW_ASSERT(SSL_CTX_set_alpn_protos(client.get(),
                                              reinterpret_cast<const unsigned char*>(list.data()),
                                              static_cast<unsigned>(list.size())) == 0);
        }
        return handshake(client.get(), door);
    }

    ReloadingTls with_enrolment_{Role::operator_, true};
    SslContext door_{SSL_CTX_new(TLS_server_method()), SSL_CTX_free};
};

TEST_F(StrangersTest, AreLetInByTheProtocolOfEnrolmentAlone) {
    EXPECT_TRUE(come("", enrolment_alpn, door_.get()).server);
    EXPECT_TRUE(speaks_enrolment(server_.get()));
    EXPECT_FALSE(come("", "", door_.get()).server);
    EXPECT_FALSE(come("", "http/1.1", door_.get()).server);
    EXPECT_FALSE(come("", "causeway-enrolment/2", door_.get()).server);
    EXPECT_FALSE(come("", enrolment_alpn, listening_.get()).server) << "enrolment is off there";
}

TEST_F(StrangersTest, MachinesComeByItAndNobodyElse) {
    issue("other", Role::machine, "foreign");
    EXPECT_TRUE(come("machine", enrolment_alpn, door_.get()).server);
    EXPECT_FALSE(come("machine", "http/1.1", door_.get()).server);
    EXPECT_FALSE(come("operator", enrolment_alpn, door_.get()).server);
    EXPECT_FALSE(come("first", enrolment_alpn, door_.get()).server);
    EXPECT_FALSE(come("foreign", enrolment_alpn, door_.get()).server);
    EXPECT_TRUE(come("operator", "http/1.1", door_.get()).server);
}

TEST_F(StrangersTest, AreStillToldApartAfterALoad) {
    ASSERT_TRUE(with_enrolment_.load(files("second")));
    EXPECT_TRUE(come("", enrolment_alpn, door_.get()).server);
    EXPECT_TRUE(was_shown("second"));
    EXPECT_FALSE(come("", "http/1.1", door_.get()).server);
    EXPECT_TRUE(come("operator", "", door_.get()).server);
}

}  // namespace
}  // namespace cw::appliance
