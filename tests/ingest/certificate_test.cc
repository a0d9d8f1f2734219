// Certificates after the handshake: sessions that outlive theirs, and servers with the wrong one.
#include "tests/ingest/server_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using wire::FrameType;

constexpr std::int64_t us_per_s = 1'000'000;

// The first ERROR the client is sent; 0 if the connection just ends.
std::uint16_t error_of(TestClient& client) {
    const auto frame = client.receive(FrameType::error);
    return frame ? frame->as<wire::ErrorMessage>().code : std::uint16_t{0};
}

TEST(Certificates, G1_ASessionEndsWhenItsCertificateExpires) {
    ListenerRig rig;
    auto client = rig.session();
    ASSERT_TRUE(client);
    ASSERT_TRUE(client->send(write_frame(client->at(1), {{}})));
    EXPECT_TRUE(client->receive(FrameType::ack));
    rig.clock->shift_us = 3601 * us_per_s;  // They are issued for an hour.
    EXPECT_EQ(error_of(*client), raw(Errc::certificate_expired));
    EXPECT_TRUE(client->wait_closed());
}

TEST(Certificates, G1_AConditionStandsWhileACertificateHasLessThanAWeekLeft) {
    ListenerRig rig;
    EXPECT_GT(rig.listener->watch_certificate(), 0);
    EXPECT_TRUE(rig.conditions.standing(Errc::certificate_expired));  // The server's own.
    rig.clock->shift_us = -8 * 86'400 * us_per_s;
    EXPECT_GT(rig.listener->watch_certificate(), 7 * 86'400);
    EXPECT_FALSE(rig.conditions.standing(Errc::certificate_expired));

    auto client = rig.session();
    ASSERT_TRUE(client);
    EXPECT_FALSE(rig.conditions.standing(Errc::certificate_expired));
    rig.clock->shift_us = 0;
    EXPECT_TRUE(eventually([&] { return rig.conditions.standing(Errc::certificate_expired); }));
    EXPECT_TRUE(client->send(write_frame(client->at(1), {{}})));  // It may go on until then.
    EXPECT_TRUE(client->receive(FrameType::ack));
}

TEST(Certificates, G3_ARevokedMachineIsCutOffAndOthersGoOn) {
    const auto revoked = std::make_shared<RevocationList>();
    ListenerRig rig({.revoked = revoked});
    auto good = rig.session(1), bad = rig.session(2);
    ASSERT_TRUE(good && bad);
    ASSERT_TRUE(
        revoked->parse(to_string(Identity{Role::machine, id_of<MachineId>(2).bytes}), "revoked"));
    EXPECT_EQ(error_of(*bad), raw(Errc::certificate_revoked));
    EXPECT_TRUE(bad->wait_closed());
    ASSERT_TRUE(good->send(write_frame(good->at(1), {{}})));
    EXPECT_TRUE(good->receive(FrameType::ack));
    const auto again = rig.session(2);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::certificate_revoked) << to_string(again.error());
    ASSERT_TRUE(revoked->parse("", "revoked"));
    EXPECT_TRUE(rig.session(2));
}

TEST(Certificates, AServerDoesNotStartWithAnothersCertificate) {
    ListenerRig rig;
    for (const Role role : {Role::machine, Role::operator_, Role::master_target}) {
        const TlsFiles files =
            ListenerRig::certificates().files({role, id_of<MachineId>(0x41).bytes});
        ModelBackend backend(4);
        std::vector<ingest::ReactorPorts> ports{backend.ports([] {})};
        const auto refused = ingest::Listener::create(
            {.listen = {"127.0.0.1", 0}, .tls = files},
            {*rig.clock, *rig.random, *rig.pool, rig.credit, *rig.metrics, rig.conditions},
            std::move(ports));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::identity_refused);
    }
}

TEST(Certificates, AConnectionMadeForProbesDoesNotReplicate) {
    ListenerRig rig;
    const auto context = TlsContext::client(ListenerRig::certificates().machine());
    ASSERT_TRUE(context);
    const std::string http = "\x08http/1.1";
    ASSERT_EQ(
        SSL_CTX_set_alpn_protos(context->get(), reinterpret_cast<const unsigned char*>(http.data()),
                                static_cast<unsigned>(http.size())),
        0);
    for (const bool health : {true, false}) {
        auto client = TestClient::connect(rig.port(), context->get());
        ASSERT_TRUE(client && client->handshake());
        const auto response = client->request(health ? "GET /v1/healthz HTTP/1.1\r\nHost: h\r\n\r\n"
                                                     : wire::build_upgrade_request("h"));
        ASSERT_TRUE(response);
        EXPECT_EQ(response->status, health ? 200 : 426);
    }
}

}  // namespace
}  // namespace cw::test
