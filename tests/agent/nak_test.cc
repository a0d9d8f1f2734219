// One disk is refused: what becomes of it, and that the others do not notice.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

using wire::NakReason;

bool committed(Harness& h, const PointId& id) {
    const auto* point = h.replicator->points().find(id);
    return point != nullptr && point->phase == PointPhase::committed;
}

// A point of everything; one that meets a NAK on its way is dropped, and the next one counts.
bool point_reaches_the_vault(Harness& h) {
    for (int attempt = 0; attempt < 10; ++attempt) {
        const auto id = h.point();
        const auto answered = [&] {
            const auto* point = h.replicator->points().find(*id);
            return point == nullptr || point->phase == PointPhase::dropped || committed(h, *id);
        };
        if (id && h.run_until(answered) && committed(h, *id)) {
            return true;
        }
        h.steps(5);
    }
    return false;
}

TEST(AgentNak, C13_ARefusedRecordIsSentAgainInTheSameSession) {
    for (const NakReason reason : {NakReason::corrupt, NakReason::gap}) {
        for (std::uint64_t seed = 1; seed <= 3; ++seed) {
            Harness h({.seed = seed, .disks = 2, .disk_bytes = 5 * mib});
            h.server.auto_sync = seed % 2 == 0;
            ASSERT_TRUE(h.run_until([&] {
                h.server.sync();
                return h.replicator->status().link == LinkState::live && h.replicator->consistent();
            }));
            const std::uint64_t sessions = h.server.sessions;
            for (int i = 0; i < 60; ++i) {
                if (i % 20 == 10) {
                    h.server.naks = {h.id_of(h.random->below(2)), reason, 1};
                }
                h.random_write();
                if (h.random->below(5) == 0) {
                    (void)h.point();
                }
                h.steps(static_cast<int>(h.random->below(3)));
            }
            h.server.naks.left = 0;
            h.server.auto_sync = true;
            ASSERT_TRUE(point_reaches_the_vault(h)) << "seed " << seed;
            EXPECT_EQ(h.server.sessions, sessions);
            EXPECT_GE(h.check_points(), 1U);
            h.expect_no_violations();
            h.server.sync();
            EXPECT_TRUE(h.run_until([&] { return h.outbox->empty(); }));
        }
    }
}

TEST(AgentNak, ARejectedDiskDoesNotCostTheOthersTheirConnection) {
    for (const NakReason reason : {NakReason::quota, NakReason::size, NakReason::conflict}) {
        Harness h({.disks = 2, .disk_bytes = 4 * mib});
        ASSERT_TRUE(h.run_until_protected());
        const std::uint64_t sessions = h.server.sessions;
        h.server.naks = {h.id_of(0), reason, 1};
        h.write(0, 0, 4096, 7);
        const auto rejected = [&] { return h.replicator->status().disks[0].phase == "rejected"; };
        ASSERT_TRUE(h.run_until(rejected));
        EXPECT_EQ(h.replicator->status().disks[0].reason, "told to");
        const Seq before = h.server.disks.at(h.id_of(1)).durable;
        h.write(0, 8192, 4096, 8);
        h.write(1, 4096, 4096, 9);
        ASSERT_TRUE(h.run_until([&] { return h.server.disks.at(h.id_of(1)).durable > before; }));
        EXPECT_EQ(h.server.sessions, sessions);
        EXPECT_EQ(h.replicator->status().link, LinkState::live);
        EXPECT_TRUE(rejected());
        h.expect_no_violations();
    }
}

TEST(AgentNak, ARecordThatIsRefusedAgainAndAgainIsTriedInANewSession) {
    Harness h({.disks = 2, .disk_bytes = 4 * mib});
    ASSERT_TRUE(h.run_until_protected());
    const std::uint64_t sessions = h.server.sessions;
    h.server.naks = {h.id_of(0), NakReason::corrupt, 6};
    h.write(0, 0, 4096, 7);
    ASSERT_TRUE(h.run_until([&] { return h.server.naks.left == 0; }));
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_TRUE(point_reaches_the_vault(h));
    EXPECT_GT(h.server.sessions, sessions);
    EXPECT_GE(h.check_points(), 1U);
    h.expect_no_violations();
}

TEST(AgentNak, C3_AGapThatDoesNotCloseIsShownAsSuchAndClosesInANewSession) {
    Harness h({.disks = 2, .disk_bytes = 4 * mib});
    ASSERT_TRUE(h.run_until_protected());
    h.server.naks = {h.id_of(0), NakReason::gap, 6};
    h.write(0, 0, 4096, 7);
    bool shown = false;
    ASSERT_TRUE(h.run_until([&] {
        const auto error = h.replicator->status().last_error;
        shown = shown || (error && error->code == Errc::seq_gap);
        return shown;
    }));
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_FALSE(h.replicator->status().last_error.has_value());
    EXPECT_TRUE(point_reaches_the_vault(h));
    EXPECT_GE(h.check_points(), 1U);
    h.expect_no_violations();
}

}  // namespace
}  // namespace cw::agent::test
