#include "base/revocation.h"

#include "base/enrolment.h"
#include "base/net.h"
#include "base/tls.h"
#include "tests/base/tls_fixture.h"

#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw {
namespace {

using testing::HasSubstr;

class RevocationTest : public TlsTest {
protected:
    std::string serial(const std::string& name) {
        return serial_of_file(*disk, directory_ + "/" + name + ".crt").value();
    }
    // A handshake of the machine against a server that holds `list`.
    Outcome handshake_with(const std::string& list) {
        EXPECT_TRUE(revoked->parse(list, "list"));
        TlsFiles server = files("server");
        server.revoked = revoked;
        return handshake(files("client"), server);
    }

    std::unique_ptr<Disk> disk = make_posix_disk();
    std::shared_ptr<RevocationList> revoked = std::make_shared<RevocationList>();
};

TEST_F(RevocationTest, AnEmptyFileIsNoCertificateAndNoReasonToEnd) {
    const std::string path = directory_ + "/empty.crt";
    std::ofstream{path};
    const auto serial = serial_of_file(*disk, path);
    ASSERT_FALSE(serial);
    EXPECT_EQ(serial.error().code, Errc::tls_failed);
    EXPECT_FALSE(request_for_key(*disk, path));
}

// It gives its content once: read again it would be an empty list, and everybody be let in.
TEST_F(RevocationTest, APipeIsNoListAndTheOneInForceStays) {
    const std::string regular = directory_ + "/list", pipe = directory_ + "/pipe";
    std::ofstream(regular) << serial("client") << "\n";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    const Fd writer(::open(pipe.c_str(), O_RDWR | O_CLOEXEC));
    const std::string text = serial("client") + "\n";
    ASSERT_EQ(::write(writer.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    const std::string opened = "/proc/self/fd/" + std::to_string(writer.get());
    for (const std::string& path : {pipe, opened}) {
        const auto loaded = revoked->reload(*disk, path);
        ASSERT_FALSE(loaded) << path;
        EXPECT_EQ(loaded.error().code, Errc::config_invalid) << path;
    }

    ASSERT_TRUE(revoked->reload(*disk, regular));
    EXPECT_FALSE(revoked->reload(*disk, pipe));
    TlsFiles server = files("server");
    server.revoked = revoked;
    EXPECT_EQ(handshake(files("client"), server).server.error().code, Errc::certificate_revoked);
}

TEST_F(RevocationTest, G3_ARevokedCertificateIsRefusedAndBothSidesLearnWhy) {
    const Outcome outcome = handshake_with("# lost laptop\n" + serial("client") + "\n");
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::certificate_revoked);
    ASSERT_FALSE(outcome.client);
    EXPECT_EQ(outcome.client.error().code, Errc::certificate_revoked);
}

TEST_F(RevocationTest, AnIdentityStandsForAllItsCertificates) {
    const Outcome outcome = handshake_with(to_string(identity_of(Role::machine)) + " # all of it");
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::certificate_revoked);
}

TEST_F(RevocationTest, OthersAreLetIn) {
    EXPECT_TRUE(handshake_with(serial("stranger") + "\n\n  \r\n").server);
    EXPECT_TRUE(handshake_with(to_string(identity_of(Role::operator_))).server);
    EXPECT_TRUE(handshake_with("").server);
}

TEST_F(RevocationTest, ASerialNumberMayBeWrittenAsOpensslPrintsIt) {
    std::string upper = "00" + serial("client");
    for (char& c : upper) {
        c = c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    EXPECT_FALSE(handshake_with(upper).server);
}

TEST_F(RevocationTest, AFileThatCannotBeUnderstoodChangesNothing) {
    ASSERT_TRUE(revoked->parse(serial("client"), "list"));
    const auto before = revoked->generation();
    for (const char* text : {"ab\nnonsense\n", "urn:causeway:machine:x\n", "-1\n",
                             "123456789012345678901234567890123456789012\n"}) {
        const auto refused = revoked->parse(text, "list");
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().code, Errc::config_invalid);
        EXPECT_THAT(refused.error().detail, HasSubstr("list:"));
    }
    EXPECT_FALSE(revoked->reload(*disk, directory_ + "/absent"));
    EXPECT_EQ(revoked->generation(), before);
    EXPECT_FALSE(handshake_with(serial("client")).server);
    EXPECT_EQ(revoked->generation(), before);
    EXPECT_TRUE(revoked->reload(*disk, ""));
    EXPECT_GT(revoked->generation(), before);
}

TEST_F(RevocationTest, G4_TwoAuthoritiesAreTrustedWhileOneReplacesTheOther) {
    TlsFiles server = files("server");
    EXPECT_FALSE(handshake(files("stranger"), server).server);
    server.ca_file = directory_ + "/both.crt";
    std::ofstream both(server.ca_file);
    for (const char* ca : {"/ca/ca.crt", "/other/ca.crt"}) {
        both << std::ifstream(directory_ + ca).rdbuf();
    }
    both.close();
    EXPECT_TRUE(handshake(files("stranger"), server).server);
    EXPECT_TRUE(handshake(files("client"), server).server);
}

TEST_F(RevocationTest, MachinesAndOperatorsCannotServe) {
    for (const Role role : {Role::machine, Role::operator_}) {
        issue("ca", role, "not-a-server");
        const auto context = TlsContext::server(files("not-a-server"));
        ASSERT_FALSE(context);
        EXPECT_EQ(context.error().code, Errc::identity_refused);
        EXPECT_EQ(TlsContext::client(files("not-a-server"))->identity().value(), identity_of(role));
    }
    issue("ca", Role::master_target, "target");
    EXPECT_TRUE(TlsContext::server(files("target")));
}

TEST_F(RevocationTest, AClientThatNamesNoProtocolOrAnotherIsRefused) {
    server_context_ = TlsContext::server(files("server")).value();
    const TlsFiles own = files("client");
    for (const std::string& list : {std::string(), std::string("\x02h2"),
                                    std::string("\x03"
                                                "ssh")}) {
        const SslContext client(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
        SSL_CTX_use_certificate_chain_file(client.get(), own.cert_file.c_str());
        SSL_CTX_use_PrivateKey_file(client.get(), own.key_file.c_str(), SSL_FILETYPE_PEM);
        SSL_CTX_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>(list.data()),
                                static_cast<unsigned>(list.size()));
        const Outcome outcome = handshake(client.get(), server_context_->get());
        ASSERT_FALSE(outcome.client) << list;
        EXPECT_THAT(outcome.client.error().detail, HasSubstr("no application protocol")) << list;
    }
    ASSERT_TRUE(handshake(own, files("server")).server);
    EXPECT_TRUE(speaks_replication(server_.get()));
}

}  // namespace
}  // namespace cw
