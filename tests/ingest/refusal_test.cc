// Who is turned away, and when: the TLS refusal matrix, strange HTTP heads, and peers that dawdle.
#include "tests/ingest/forged_certificate.h"
#include "tests/ingest/server_rig.h"

#include <gtest/gtest.h>
#include <openssl/err.h>

namespace cw::test {
namespace {

using wire::FrameType;

// A client context built by hand, so that it can be wrong in every way.
struct ClientSetup {
    const char* name;
    void (*spoil)(SSL_CTX*);
};

void offer(SSL_CTX* context, std::string_view protocol) {
    std::string list(1, static_cast<char>(protocol.size()));
    list += protocol;
    ASSERT_EQ(SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(list.data()),
                                      static_cast<unsigned>(list.size())),
              0);
}

std::shared_ptr<SSL_CTX> hand_made_context() {
    std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    offer(context.get(), replication_alpn);
    return context;
}

void use(SSL_CTX* context, const TlsFiles& files) {
    ASSERT_EQ(SSL_CTX_use_certificate_chain_file(context, files.cert_file.c_str()), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey_file(context, files.key_file.c_str(), SSL_FILETYPE_PEM), 1);
}

void use_machine(SSL_CTX* context) {
    use(context, ListenerRig::certificates().machine());
}

void use_forged(SSL_CTX* context, const Forgery& forgery) {
    use(context, forge_certificate(ListenerRig::certificates().directory(), "refusal", forgery));
}

class RefusalTest : public testing::Test {
protected:
    // The server must close without a single application byte, whatever the client sends.
    void expect_no_byte(SSL_CTX* context, const char* name) {
        auto client = TestClient::connect(rig.port(), context);
        ASSERT_TRUE(client) << name;
        const auto shaken = client->handshake();
        if (shaken) {  // TLS 1.3: the client only learns with its first read.
            const auto response = client->request(wire::build_upgrade_request("h"));
            EXPECT_FALSE(response) << name;
        }
        ERR_clear_error();
        EXPECT_TRUE(client->wait_closed()) << name;
    }

    ListenerRig rig;
};

TEST_F(RefusalTest, H4_TlsPeersThatAreNotEnrolledGetNoApplicationByte) {
    const ClientSetup setups[] = {
        {"no certificate", [](SSL_CTX*) {}},
        {"TLS 1.2",
         [](SSL_CTX* c) {
             use_machine(c);
             SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
         }},
        {"TLS 1.1",
         [](SSL_CTX* c) {
             use_machine(c);
             SSL_CTX_set_security_level(c, 0);
             SSL_CTX_set_min_proto_version(c, TLS1_VERSION);
             SSL_CTX_set_max_proto_version(c, TLS1_1_VERSION);
         }},
        {"only a suite that is not offered",
         [](SSL_CTX* c) {
             use_machine(c);
             SSL_CTX_set_ciphersuites(c, "TLS_AES_128_CCM_8_SHA256");
             SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
         }},
        {"certificate of another CA",
         [](SSL_CTX* c) {
             static TestCertificates stranger;
             use(c, stranger.machine());
         }},
        {"the CA's own certificate as a leaf",
         [](SSL_CTX* c) {
             const std::string& directory = ListenerRig::certificates().directory();
             use(c, {.ca_file = {},
                     .cert_file = directory + "/ca.crt",
                     .key_file = directory + "/ca.key"});
         }},
        {"self-signed", [](SSL_CTX* c) { use_forged(c, {.self_signed = true}); }},
        {"for servers only", [](SSL_CTX* c) { use_forged(c, {.key_usage = "serverAuth"}); }},
        {"for mail only", [](SSL_CTX* c) { use_forged(c, {.key_usage = "emailProtection"}); }},
        {"not yet valid", [](SSL_CTX* c) { use_forged(c, {.valid_from_s = 600}); }},
    };
    for (const ClientSetup& setup : setups) {
        const auto context = hand_made_context();
        setup.spoil(context.get());
        expect_no_byte(context.get(), setup.name);
    }
    EXPECT_EQ(rig.backend().count(), 0U);
}

// The handshake is sound, but it does not say who the peer is.
TEST_F(RefusalTest, CertificatesWithoutOneIdentityAreAnswered401) {
    const std::string good = "URI:urn:causeway:machine:77777777-7777-7777-7777-777777777777";
    const std::string cases[] = {
        "",
        "DNS:machine",
        "URI:urn:causeway:machine:not-a-uuid",
        "URI:urn:causeway:root:77777777-7777-7777-7777-777777777777",
        "URI:https://example.invalid/machine",
        good + "," + good,
        good + ",URI:urn:causeway:operator:77777777-7777-7777-7777-777777777777",
    };
    for (const std::string& names : cases) {
        const auto context = hand_made_context();
        use_forged(context.get(), {.alt_names = names});
        auto client = TestClient::connect(rig.port(), context.get());
        ASSERT_TRUE(client && client->handshake()) << names;
        const auto response = client->request(wire::build_upgrade_request("h"));
        ASSERT_TRUE(response) << names;
        EXPECT_EQ(response->status, 401) << names;
    }
    const auto context = hand_made_context();
    use_forged(context.get(), {.alt_names = good + ",DNS:machine"});
    auto client = TestClient::connect(rig.port(), context.get());
    ASSERT_TRUE(client && client->handshake());
    EXPECT_TRUE(client->upgrade());
}

// A reset could overtake the alert, and nobody would know what to repair.
TEST_F(RefusalTest, TellsWhyByAnAlertThoughThePeerHasAlreadySentItsHead) {
    for (int round = 0; round < 20; ++round) {
        const auto context = hand_made_context();  // Without a certificate.
        auto client = TestClient::connect(rig.port(), context.get());
        ASSERT_TRUE(client && client->handshake());
        const auto response = client->request(wire::build_upgrade_request("h"));
        ASSERT_FALSE(response);
        EXPECT_NE(response.error().detail.find("certificate required"), std::string::npos)
            << response.error().detail;
    }
}

TEST_F(RefusalTest, G1_ExpiredCertificateGetsNoApplicationByte) {
    const Identity identity{Role::machine, id_of<MachineId>(0x21).bytes};
    const TlsFiles files = ListenerRig::certificates().files(identity, 1);
    ASSERT_TRUE(eventually([&] {  // Until the second is over.
        const auto context = TlsContext::client(files);
        return !context && context.error().code == Errc::certificate_expired;
    }));
    const auto context = hand_made_context();
    use(context.get(), files);
    expect_no_byte(context.get(), "expired");
}

TEST_F(RefusalTest, PeersThatDoNotSpeakTlsAreClosed) {
    for (const std::string_view text :
         {"GET /v1/replication HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
          "\x16\x03\x01\xff\xff garbage that is no hello at all, and long enough to be read"}) {
        auto client = TestClient::connect(rig.port(), nullptr);
        ASSERT_TRUE(client);
        ASSERT_TRUE(client->send_plain(as_bytes(text)));
        EXPECT_TRUE(client->wait_closed());
    }
}

TEST_F(RefusalTest, OtherRolesMayAskForHealthButNotReplicate) {
    for (const Role role : {Role::process_server, Role::master_target, Role::operator_}) {
        const TlsFiles files =
            ListenerRig::certificates().files({role, id_of<MachineId>(0x31).bytes});
        const auto context = TlsContext::client(files);
        ASSERT_TRUE(context);
        for (const bool health : {true, false}) {
            auto client = TestClient::connect(rig.port(), context->get());
            ASSERT_TRUE(client && client->handshake());
            const auto response =
                client->request(health ? "GET /v1/healthz HTTP/1.1\r\nHost: h\r\n\r\n"
                                       : wire::build_upgrade_request("h"));
            ASSERT_TRUE(response);
            EXPECT_EQ(response->status, health ? 200 : 403);
        }
    }
}

TEST_F(RefusalTest, HttpHeadsThatAreNotOursAreAnsweredInHttp) {
    const auto context = TlsContext::client(ListenerRig::certificates().machine());
    ASSERT_TRUE(context);
    const std::pair<std::string, int> cases[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 404},
        {"GET /v1/replication HTTP/1.1\r\nHost: h\r\n\r\n", 426},
        {"GET /v1/replication HTTP/1.0\r\n\r\n", 400},
        {"nonsense\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX: " + std::string(9000, 'x'), 400},
        {wire::build_upgrade_request("h") + "CWF1 before the 101", 400},
    };
    for (const auto& [head, status] : cases) {
        auto client = TestClient::connect(rig.port(), context->get());
        ASSERT_TRUE(client && client->handshake());
        const auto response = client->request(head);
        ASSERT_TRUE(response) << head << to_string(response.error());
        EXPECT_EQ(response->status, status) << head;
    }
}

TEST_F(RefusalTest, H6_AuthorisationIsByCertificateNotByWhatHelloSays) {
    const ingest::Authorise only_one = [](const Identity& identity,
                                          const wire::Hello&) -> Result<void> {
        return identity.id == id_of<MachineId>(1).bytes ? Result<void>{}
                                                        : fail(Errc::authz_denied, "not admitted");
    };
    ListenerRig strict({.authorise = only_one});
    EXPECT_TRUE(strict.session(1));
    const auto refused = strict.session(2);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::authz_denied);
}

TEST(Limits, C11_SlowHandshakeHeadAndHelloAreCutOff) {
    RigOptions options;
    // Honest handshakes have to be done within it, also on a machine that does other things.
    options.limits.handshake_ns = options.limits.head_ns = 4 * ns_per_s;
    ListenerRig rig(options);
    const auto context = TlsContext::client(ListenerRig::certificates().machine());
    ASSERT_TRUE(context);

    auto silent = TestClient::connect(rig.port(), nullptr);
    auto no_head = TestClient::connect(rig.port(), context->get());
    auto half_head = TestClient::connect(rig.port(), context->get());
    ASSERT_TRUE(silent && no_head && half_head && no_head->handshake() && half_head->handshake());
    ASSERT_TRUE(half_head->send(as_bytes("GET /v1/replication HTTP/1.1\r\nHost:")));
    auto no_hello = TestClient::replicate(rig.port(), ListenerRig::certificates().machine());
    ASSERT_TRUE(no_hello);

    EXPECT_TRUE(silent->wait_closed());
    EXPECT_TRUE(no_head->wait_closed());
    EXPECT_TRUE(half_head->wait_closed());
    const auto error = no_hello->receive(FrameType::error);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->as<wire::ErrorMessage>().code, raw(Errc::peer_slow));
}

TEST(Limits, C11_SlowlorisWithinAFrameIsCutOffAndOthersAreServed) {
    RigOptions options;
    options.limits.rate_grace_ns = 200 * ns_per_ms;
    ListenerRig rig(options);
    auto slow = rig.session(1), brisk = rig.session(2);
    ASSERT_TRUE(slow && brisk);
    const ByteVector frame = write_frame(slow->at(1), {{0, 4 * mib, 1}});
    ASSERT_TRUE(slow->send(Bytes(frame).first(5000)));
    ASSERT_TRUE(brisk->send(write_frame(brisk->at(1), {{}})));
    EXPECT_TRUE(brisk->receive(FrameType::ack));
    const auto error = slow->receive(FrameType::error);
    ASSERT_TRUE(error) << to_string(error.error());
    EXPECT_EQ(error->as<wire::ErrorMessage>().code, raw(Errc::peer_slow));
    EXPECT_TRUE(slow->wait_closed());
    EXPECT_TRUE(eventually([&] { return rig.pool->free_count() == rig.pool->count(); }));
}

TEST(Limits, C12_ConnectionsBeyondTheLimitAreToldToComeBackOrReset) {
    RigOptions options;
    options.limits.connections = 2;
    ListenerRig rig(options);
    auto first = rig.session(1), second = rig.session(2);
    ASSERT_TRUE(first && second);
    const auto third = rig.session(3);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Errc::server_busy);
    EXPECT_NE(third.error().detail.find("retry after 15 s"), std::string::npos);
    std::vector<TestClient> crowd;
    for (int i = 0; i < 40; ++i) {
        auto client = TestClient::connect(rig.port(), nullptr);
        if (client) {  // Else the reset was there before connect() had returned.
            crowd.push_back(std::move(*client));
        }
    }
    EXPECT_TRUE(eventually(
        [&] { return rig.metrics->counter("causeway_ingest_refusals_total").value() >= 20; }));
    EXPECT_LE(rig.listener->connection_count(), 2U + 16U);
}

// A token for each handshake, and as many at once as are earned in a second.
TEST(Limits, C12_HandshakesBeyondTheTokensWaitAndAreTakenAsTheyAreEarned) {
    RigOptions options;
    options.limits.handshakes_per_s = 2;
    options.clock_stands = true;
    ListenerRig rig(options);
    const auto taken = [&] {
        return rig.metrics->counter("causeway_ingest_accepted_total").value();
    };
    auto served = rig.session();
    ASSERT_TRUE(served) << to_string(served.error());
    std::vector<TestClient> storm;
    for (int i = 0; i < 6; ++i) {
        auto client = TestClient::connect(rig.port(), nullptr);
        ASSERT_TRUE(client);
        storm.push_back(std::move(*client));
    }
    EXPECT_TRUE(eventually([&] { return taken() >= 2; }));
    // Round after round of the reactor, and none of them takes a third.
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
        ASSERT_TRUE(served->send(write_frame(served->at(seq), {{}})));
        ASSERT_TRUE(served->receive(FrameType::ack));
    }
    EXPECT_EQ(taken(), 2.);
    for (const double earned : {4., 6., 7.}) {
        rig.clock->advance(ns_per_s);
        EXPECT_TRUE(eventually([&] { return taken() >= earned; }));
        EXPECT_EQ(taken(), earned);
    }
    // Put off, and not turned away.
    EXPECT_EQ(rig.metrics->counter("causeway_ingest_refusals_total").value(), 0.);
}

TEST(Limits, H7_OneIdentityThatKeepsComingIsToldToWait) {
    RigOptions options;
    options.limits.attempts_burst = 3;
    ListenerRig rig(options);
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(rig.session());
    }
    const auto refused = rig.session();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::server_busy);
    EXPECT_NE(refused.error().detail.find("429"), std::string::npos) << refused.error().detail;
}

TEST(Limits, C6_ClonesAreRefusedWith409) {
    ListenerRig rig;
    bool refused = false;
    for (std::uint64_t turn = 0; turn < 10 && !refused; ++turn) {
        const auto client = rig.session(0x55, 1, turn % 2 == 0 ? 100 : 200);
        refused = !client && client.error().code == Errc::identity_refused;
    }
    EXPECT_TRUE(refused);
    const auto after = rig.session(0x55, 1, 300);
    ASSERT_FALSE(after);
    EXPECT_NE(after.error().detail.find("409"), std::string::npos) << after.error().detail;
    EXPECT_TRUE(rig.session(0x56));
    EXPECT_TRUE(rig.conditions.standing(Errc::identity_refused));
}

TEST(Limits, SilentConnectionIsPingedAndThenClosed) {
    RigOptions options;
    options.limits.ping_ns = 200 * ns_per_ms;
    options.limits.idle_ns = 3 * ns_per_s;  // Both are never due at once.
    ListenerRig rig(options);
    auto client = rig.session();
    ASSERT_TRUE(client);
    EXPECT_TRUE(client->receive(FrameType::ping));
    EXPECT_TRUE(client->receive(FrameType::error));
    EXPECT_TRUE(client->wait_closed());
}

TEST(Limits, G1_RenewedCertificateIsUsedForNewConnections) {
    ListenerRig rig;
    auto before = rig.session(1);
    ASSERT_TRUE(before);
    ASSERT_TRUE(rig.listener->reload_tls());
    EXPECT_TRUE(rig.session(2));
    ASSERT_TRUE(before->send(write_frame(before->at(1), {{}})));
    EXPECT_TRUE(before->receive(FrameType::ack));
    EXPECT_GT(rig.listener->watch_certificate(), 0);
}

}  // namespace
}  // namespace cw::test
