// Sessions over real TLS on loopback, on both pollers.
#include "base/checksum.h"
#include "tests/fakes/sanitizer.h"
#include "tests/ingest/server_rig.h"

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using wire::FrameType;

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class ReactorTest : public testing::TestWithParam<bool> {
protected:
    RigOptions options() const { return {.use_uring = GetParam()}; }
};

INSTANTIATE_TEST_SUITE_P(Pollers, ReactorTest, testing::Bool(),
                         [](const auto& suite) { return suite.param ? "Uring" : "Plain"; });

TEST_P(ReactorTest, WritesTravelFromAgentToSpoolAndAreAcknowledged) {
    ListenerRig rig(options());
    auto client = rig.session();
    ASSERT_TRUE(client) << to_string(client.error());
    ASSERT_TRUE(client->send(write_frame(client->at(1), {{0, 65536, 5}, {65536, 4096, 6}})));
    const auto frame = client->receive(FrameType::ack);
    ASSERT_TRUE(frame) << to_string(frame.error());
    const auto ack = frame->as<wire::Ack>();
    EXPECT_EQ(ack.disks.at(0).spooled, Seq{2});
    ASSERT_EQ(rig.backend().count(), 1U);
    EXPECT_EQ(rig.backend().headers()[0].data_bytes, 65536U + 4096U);
}

TEST_P(ReactorTest, PayloadArrivesUnchangedAndIsCopiedByNobody) {
    ListenerRig rig(options());
    auto client = rig.session();
    ASSERT_TRUE(client) << to_string(client.error());
    std::uint32_t crc = 0;
    std::uint64_t seq = 1;
    for (std::uint8_t round = 0; round < 24; ++round) {
        const std::uint32_t length = (round % 4 == 3) ? 8 * mib : 300 * kib;
        const ByteVector frame = write_frame(client->at(seq++), {{0, length, round}});
        const ByteVector data(length, static_cast<std::byte>(round));
        crc = crc32c(data, crc);
        ASSERT_TRUE(client->send(frame));
        if (round % 4 == 3) {  // Within the credit.
            while (true) {
                const auto ack = client->receive(FrameType::ack);
                ASSERT_TRUE(ack) << to_string(ack.error());
                if (ack->as<wire::Ack>().disks.at(0).spooled == Seq{seq - 1}) {
                    break;
                }
            }
        }
    }
    EXPECT_EQ(rig.backend().count(), 24U);
    EXPECT_EQ(rig.backend().data_crc(), crc);
}

TEST_P(ReactorTest, FullSpoolRingStopsReadingAndLosesNothing) {
    RigOptions small = options();
    small.records_capacity = 2;
    ListenerRig rig(small);
    rig.backend().hold_records = true;
    auto client = rig.session(0x77, 1);
    ASSERT_TRUE(client) << to_string(client.error());
    ByteVector all;
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
        const ByteVector frame = write_frame(client->at(seq), {{0, 4096, 1}});
        all.insert(all.end(), frame.begin(), frame.end());
    }
    ASSERT_TRUE(client->send(all));
    rig.backend().hold_records = false;
    rig.ring();
    EXPECT_TRUE(eventually([&] {
        rig.ring();
        return rig.backend().count() == 20;
    }));
    EXPECT_EQ(rig.backend().headers()[19].seq, Seq{20});
}

TEST_P(ReactorTest, A8_ConnectionsWaitForMemoryAndThenGoOn) {
    RigOptions small = options();
    small.slabs = 8;
    small.records_capacity = 64;
    ListenerRig rig(small);
    rig.backend().hold_records = true;
    auto first = rig.session(1), second = rig.session(2);
    ASSERT_TRUE(first && second);
    ASSERT_TRUE(first->send(write_frame(first->at(1), {{0, 7 * mib, 1}})));
    ASSERT_TRUE(second->send(write_frame(second->at(1), {{0, 256 * kib, 2}})));
    ASSERT_TRUE(eventually([&] { return rig.pool->free_count() == 0; }));
    ASSERT_TRUE(second->send(write_frame(second->at(2), {{0, 64 * kib, 3}})));
    rig.backend().hold_records = false;
    EXPECT_TRUE(eventually([&] {
        rig.ring();
        return rig.backend().count() == 3;
    }));
}

TEST_P(ReactorTest, NewerSessionFencesTheOlderOne) {
    ListenerRig rig(options());
    auto older = rig.session();
    ASSERT_TRUE(older);
    auto newer = rig.session();
    ASSERT_TRUE(newer) << to_string(newer.error());
    ASSERT_TRUE(older->send(write_frame(older->at(1), {{}})));
    const auto frame = older->receive(FrameType::error);
    ASSERT_TRUE(frame) << to_string(frame.error());
    EXPECT_EQ(frame->as<wire::ErrorMessage>().code, static_cast<int>(Errc::stale_session));
    EXPECT_TRUE(older->wait_closed());
    ASSERT_TRUE(newer->send(write_frame(newer->at(1), {{}})));
    ASSERT_TRUE(newer->receive(FrameType::ack));
    EXPECT_EQ(rig.backend().count(), 1U);
}

TEST_P(ReactorTest, G3_RevokedMachineIsCutOffWithinATick) {
    ListenerRig rig(options());
    auto client = rig.session();
    ASSERT_TRUE(client);
    rig.listener->sessions().end_session(id_of<MachineId>(0x77));
    const auto frame = client->receive(FrameType::error);
    ASSERT_TRUE(frame) << to_string(frame.error());
    EXPECT_EQ(frame->as<wire::ErrorMessage>().code, raw(Errc::stale_session));
    EXPECT_TRUE(client->wait_closed());
}

TEST_P(ReactorTest, C1_ConnectionCutMidFrameLeavesNothingBehind) {
    // The catalogue's 10,000 at night, with both pollers together.
    const std::uint64_t rounds =
        std::getenv("CAUSEWAY_NIGHTLY") == nullptr ? 10 : fakes::seeds(5'000);
    RigOptions patient = options();  // One machine, as often as it likes.
    patient.limits.attempts_burst = patient.limits.handshakes_per_s =
        static_cast<double>(rounds) + 30;
    ListenerRig rig(patient);
    const std::size_t open_before = open_descriptors();
    for (std::uint64_t round = 0; round < rounds; ++round) {
        auto client = rig.session();
        ASSERT_TRUE(client) << to_string(client.error());
        const ByteVector frame = write_frame(client->at(1), {{0, 2 * mib, 1}});
        ASSERT_TRUE(client->send(Bytes(frame).first(mib)));
    }
    EXPECT_TRUE(eventually([&] { return rig.listener->connection_count() == 0; }));
    EXPECT_EQ(rig.backend().count(), 0U);
    EXPECT_EQ(rig.pool->free_count(), rig.pool->count());
    EXPECT_EQ(rig.credit.reserved(), 0U);
    EXPECT_EQ(rig.credit.sessions(), 0U);
    EXPECT_TRUE(eventually([&] { return open_descriptors() <= open_before; }));
}

TEST_P(ReactorTest, A5_DrainAcknowledgesWhatWasReceivedAndSaysGoodbye) {
    ListenerRig rig(options());
    rig.backend().hold_notices = true;
    auto client = rig.session();
    ASSERT_TRUE(client);
    ASSERT_TRUE(client->send(write_frame(client->at(1), {{0, mib, 1}})));
    ASSERT_TRUE(eventually([&] { return rig.backend().count() == 1; }));
    rig.listener->begin_drain();
    EXPECT_FALSE(rig.listener->drained());
    rig.backend().hold_notices = false;
    rig.ring();
    const auto ack = client->receive(FrameType::ack);
    ASSERT_TRUE(ack) << to_string(ack.error());
    EXPECT_EQ(ack->as<wire::Ack>().disks.at(0).spooled, Seq{1});
    EXPECT_TRUE(client->receive(FrameType::goodbye));
    EXPECT_TRUE(client->wait_closed());
    client = fail(Errc::cancelled);  // Closes this end too.
    EXPECT_TRUE(eventually([&] { return rig.listener->drained(); }));
    EXPECT_FALSE(rig.session());
}

TEST_P(ReactorTest, ManyIdleConnectionsAreHeldAndStillServed) {
    RigOptions many = options();
    many.limits.attempts_burst = 500;
    many.limits.handshakes_per_s = 1000;
    many.limits.head_ns = 300 * ns_per_s;  // However long 200 handshakes take here.
    ListenerRig rig(many);
    std::vector<TestClient> clients;
    for (int i = 0; i < 200; ++i) {  // Upgraded, before HELLO.
        auto client = TestClient::replicate(rig.port(), ListenerRig::certificates().machine());
        ASSERT_TRUE(client) << i << " " << to_string(client.error());
        clients.push_back(std::move(*client));
    }
    EXPECT_EQ(rig.listener->connection_count(), 200U);
    const auto welcome = clients[123].hello(plain_hello());
    ASSERT_TRUE(welcome) << to_string(welcome.error());
    ASSERT_TRUE(clients[123].send(write_frame(clients[123].at(1), {{}})));
    EXPECT_TRUE(clients[123].receive(FrameType::ack));
}

TEST(Listener, SeveralReactorsShareOnePortAndOneSessionTable) {
    ListenerRig rig({.reactors = 3});
    std::vector<TestClient> clients;
    for (std::uint8_t seed = 1; seed <= 12; ++seed) {
        auto client = rig.session(seed);
        ASSERT_TRUE(client) << to_string(client.error());
        ASSERT_TRUE(client->send(write_frame(client->at(1), {{}})));
        ASSERT_TRUE(client->receive(FrameType::ack));
        clients.push_back(std::move(*client));
    }
    EXPECT_EQ(rig.listener->connection_count(), 12U);
    EXPECT_EQ(rig.listener->sessions().live_count(), 12U);
}

TEST(Listener, RefusesAPoolThatCannotHoldOneFrame) {
    auto clock = make_system_clock();
    auto random = make_system_random();
    Conditions conditions(*clock);
    auto metrics = make_metric_registry();
    auto pool = std::move(*pipeline::SlabPool::create("tiny", 4));
    ingest::SharedCredit credit(gib, 32 * mib);
    const auto created = ingest::Listener::create(
        {.listen = {"127.0.0.1", 0}, .tls = ListenerRig::certificates().server()},
        {*clock, *random, *pool, credit, *metrics, conditions}, {{}});
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code, Errc::out_of_budget);
}

}  // namespace
}  // namespace cw::test
