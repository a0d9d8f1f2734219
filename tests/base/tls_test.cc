#include "base/tls.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/disk.h"
#include "base/net.h"
#include "base/random.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace cw {
namespace {

using testing::HasSubstr;

constexpr std::int64_t one_day_s = 86'400;
using Ssl = std::unique_ptr<SSL, decltype(&SSL_free)>;

struct Outcome {
    Result<void> client;
    Result<void> server;
};

class TlsTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        std::string pattern = testing::TempDir() + "cw_tls_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
        CW_ASSERT(create_ca(directory_ + "/ca", "Test CA", one_day_s));
        CW_ASSERT(create_ca(directory_ + "/other", "Other CA", one_day_s));
        issue("ca", Role::process_server, "server");
        issue("ca", Role::machine, "client");
        issue("other", Role::machine, "stranger");
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

    static void issue(const std::string& ca, Role role, const std::string& name) {
        CW_ASSERT(
            issue_certificate(directory_ + "/" + ca, request_for(role), directory_ + "/" + name));
    }
    static CertificateRequest request_for(Role role) {
        return {{role, {std::byte{7}}}, "test", "localhost,127.0.0.1,::1", one_day_s};
    }
    static TlsFiles files(const std::string& name, const std::string& ca = "ca") {
        return {directory_ + "/" + ca + "/ca.crt", directory_ + "/" + name + ".crt",
                directory_ + "/" + name + ".key"};
    }

    // Runs a handshake over a socket pair. What a server says after its own part is done reaches a
    // TLS 1.3 client only with its first read, so each side reads one byte of the other's, too.
    Outcome handshake(SSL_CTX* client_context, SSL_CTX* server_context) {
        int ends[2];
        CW_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        client_end_ = Fd(ends[0]);
        server_end_ = Fd(ends[1]);
        client_ = Ssl(SSL_new(client_context), SSL_free);
        server_ = Ssl(SSL_new(server_context), SSL_free);
        SSL_set_fd(client_.get(), ends[0]);
        SSL_set_fd(server_.get(), ends[1]);
        SSL_set_connect_state(client_.get());
        SSL_set_accept_state(server_.get());
        Outcome outcome;
        bool client_done = false, server_done = false;
        for (int round = 0; round < 20 && !(client_done && server_done); ++round) {
            client_done = client_done || advance(client_.get(), outcome.client);
            server_done = server_done || advance(server_.get(), outcome.server);
        }
        return outcome;
    }
    // True when this side has ended, well or badly.
    static bool advance(SSL* ssl, Result<void>& result) {
        char byte = 'x';
        int answer = SSL_do_handshake(ssl);
        if (answer == 1) {
            answer = SSL_write(ssl, &byte, 1) == 1 ? SSL_read(ssl, &byte, 1) : -1;
        }
        if (answer == 1) {
            return true;
        }
        const int why = SSL_get_error(ssl, answer);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
            return false;
        }
        result = std::unexpected(tls_error("handshake"));
        return true;
    }
    Outcome handshake(const TlsFiles& client, const TlsFiles& server) {
        client_context_ = TlsContext::client(client).value();
        server_context_ = TlsContext::server(server).value();
        return handshake(client_context_->get(), server_context_->get());
    }

    static inline std::string directory_;
    std::optional<TlsContext> client_context_, server_context_;
    Fd client_end_, server_end_;
    Ssl client_{nullptr, SSL_free}, server_{nullptr, SSL_free};
};

TEST_F(TlsTest, BothSidesLearnEachOthersIdentity) {
    const Outcome outcome = handshake(files("client"), files("server"));
    ASSERT_TRUE(outcome.client) << to_string(outcome.client.error());
    ASSERT_TRUE(outcome.server) << to_string(outcome.server.error());
    EXPECT_STREQ(SSL_get_version(server_.get()), "TLSv1.3");
    EXPECT_STREQ(SSL_get_cipher(server_.get()), "TLS_AES_256_GCM_SHA384");
    EXPECT_EQ(peer_identity(server_.get()).value(), request_for(Role::machine).identity);
    EXPECT_EQ(peer_identity(client_.get()).value(), request_for(Role::process_server).identity);
    EXPECT_EQ(SSL_session_reused(server_.get()), 0);
}

TEST_F(TlsTest, AClientWithoutACertificateIsRefused) {
    server_context_ = TlsContext::server(files("server")).value();
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> bare(SSL_CTX_new(TLS_client_method()),
                                                                 SSL_CTX_free);
    const Outcome outcome = handshake(bare.get(), server_context_->get());
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::tls_failed);
    EXPECT_THAT(outcome.server.error().detail, HasSubstr("did not return a certificate"));
    EXPECT_EQ(peer_identity(server_.get()).error().code, Errc::identity_refused);
}

TEST_F(TlsTest, AClientOfAnotherCaIsRefused) {
    const Outcome outcome = handshake(files("stranger"), files("server"));
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::tls_failed);
    EXPECT_FALSE(outcome.client);
}

TEST_F(TlsTest, AServerOfAnotherCaIsRefused) {
    const Outcome outcome = handshake(files("client"), files("stranger", "other"));
    ASSERT_FALSE(outcome.client);
    EXPECT_EQ(outcome.client.error().code, Errc::tls_failed);
    EXPECT_THAT(outcome.client.error().detail, HasSubstr("certificate verify failed"));
}

// A context that holds an expired certificate, as a process has that runs for too long. The files
// themselves are refused at the start, so the certificate comes with a verification time in the
// future instead.
TEST_F(TlsTest, AnExpiredClientIsRefusedWithTheReason) {
    client_context_ = TlsContext::client(files("client")).value();
    server_context_ = TlsContext::server(files("server")).value();
    const std::int64_t now = static_cast<std::int64_t>(make_system_clock()->wall()) / 1'000'000;
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(server_context_->get()), now + 2 * one_day_s);
    const Outcome outcome = handshake(client_context_->get(), server_context_->get());
    ASSERT_FALSE(outcome.server);
    EXPECT_EQ(outcome.server.error().code, Errc::certificate_expired);
    EXPECT_THAT(outcome.server.error().detail, HasSubstr("certificate has expired"));
    ASSERT_FALSE(outcome.client);  // Learns it from the alert.
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

TEST_F(TlsTest, ACertificateWithoutSanUriHasNoIdentity) {
    // The CA's own certificate has no SAN; used as a leaf, it is trusted but names nobody.
    server_context_ = TlsContext::server(files("server")).value();
    const TlsFiles ca_as_leaf{directory_ + "/ca/ca.crt", directory_ + "/ca/ca.crt",
                              directory_ + "/ca/ca.key"};
    const Outcome outcome = handshake(ca_as_leaf, files("server"));
    if (outcome.server) {
        const auto identity = peer_identity(server_.get());
        ASSERT_FALSE(identity);
        EXPECT_EQ(identity.error().code, Errc::identity_refused);
        EXPECT_THAT(identity.error().detail, HasSubstr("0 SAN URIs"));
    } else {
        EXPECT_EQ(outcome.server.error().code, Errc::tls_failed);
    }
}

TEST_F(TlsTest, Tls12IsSpokenOnlyByExplicitSwitch) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> old(SSL_CTX_new(TLS_client_method()),
                                                                SSL_CTX_free);
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

TEST_F(TlsTest, ACaIsNeverOverwritten) {
    EXPECT_EQ(create_ca(directory_ + "/ca", "Test CA", one_day_s).error().code, Errc::file_exists);
    struct stat status{};
    ASSERT_EQ(stat((directory_ + "/ca/ca.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(TlsTest, NamesThatWouldSmuggleAnotherIdentityAreRefused) {
    CertificateRequest request = request_for(Role::machine);
    for (const char* names :
         {"a:b", "host\nURI:urn:x", "URI:urn:causeway:operator", "a b", "a,,b"}) {
        request.dns_or_ip = names;
        EXPECT_EQ(issue_certificate(directory_ + "/ca", request, directory_ + "/x").error().code,
                  Errc::usage)
            << names;
    }
    request.dns_or_ip = "";
    request.common_name = "line\nbreak";
    EXPECT_FALSE(issue_certificate(directory_ + "/ca", request, directory_ + "/x"));
}

TEST_F(TlsTest, AMachineIsEnrolledWithoutItsKeyLeavingIt) {
    const std::string key_file = directory_ + "/enrolled.key";
    const std::string csr = request_certificate(key_file).value();
    EXPECT_EQ(csr.find("PRIVATE"), std::string::npos);
    const std::string certificate =
        sign_request(directory_ + "/ca", csr, request_for(Role::machine)).value();
    ASSERT_TRUE(write_file_atomically(*make_posix_disk(), directory_ + "/enrolled.crt",
                                      as_bytes(certificate)));
    ASSERT_TRUE(handshake(files("enrolled"), files("server")).server);
    EXPECT_EQ(peer_identity(server_.get()).value(), request_for(Role::machine).identity);
}

TEST_F(TlsTest, AForgedRequestIsRefused) {
    std::string csr = request_certificate(directory_ + "/forged.key").value();
    EXPECT_EQ(sign_request(directory_ + "/ca", "nonsense", request_for(Role::machine)).error().code,
              Errc::usage);
    const std::size_t middle = csr.size() / 2;
    csr[middle] = csr[middle] == 'A' ? 'B' : 'A';
    EXPECT_EQ(sign_request(directory_ + "/ca", csr, request_for(Role::machine)).error().code,
              Errc::usage);
}

TEST(Identity, RoundTripsAndRefusesOtherForms) {
    for (const Role role :
         {Role::machine, Role::process_server, Role::master_target, Role::operator_}) {
        const Identity identity{role, make_uuid_bytes(*make_seeded_random(1))};
        EXPECT_EQ(parse_identity(to_string(identity)).value(), identity);
    }
    const std::string uuid = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    EXPECT_EQ(to_string(parse_identity("urn:causeway:machine:" + uuid).value()),
              "urn:causeway:machine:" + uuid);
    for (const std::string& bad :
         {std::string(), uuid, "urn:causeway:" + uuid, "urn:causeway:root:" + uuid,
          "urn:causeway:machine" + uuid, "urn:causeway:machine:" + uuid + " ",
          "URN:CAUSEWAY:machine:" + uuid}) {
        EXPECT_EQ(parse_identity(bad).error().code, Errc::identity_refused) << bad;
    }
}

}  // namespace
}  // namespace cw
