// A group's points on their way to the server.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

const GroupId group{{std::byte{42}}};

Result<PointId> provisional(Harness& h) {
    return h.replicator->make_point(pipeline::PointKind::crash, "t", {}, {}, group);
}

TEST(GroupSession, ResultFollowsItsPointAlsoAcrossLostConnections) {
    for (const bool committed : {true, false}) {
        for (int before = 0; before < 3; ++before) {
            Harness h;
            ASSERT_TRUE(h.run_until_protected());
            h.write(0, mib, 4096, 1);
            const auto id = provisional(h);
            ASSERT_TRUE(id.has_value());
            if (before > 0) {
                ASSERT_TRUE(h.run_until([&] { return !h.server.points.empty(); }));
            }
            if (before < 2) {
                h.server.crash();
            }
            h.replicator->decide_point(*id, group, committed);
            ASSERT_TRUE(h.run_until([&] { return h.server.results.contains(*id); })) << before;
            EXPECT_EQ(h.server.results.at(*id), committed);
            EXPECT_TRUE(h.server.points.back().point.provisional);
            EXPECT_TRUE(h.run_until([&] { return h.outbox->empty(); })) << before;
            h.expect_no_violations();
        }
    }
}

// Nobody answers it, and if nobody writes either a clean stop must not wait for the next record.
TEST(GroupSession, ResultThatIsSentLeavesNothingToWaitFor) {
    Outbox outbox(mib);
    OutboxEntry entry;
    entry.record.header.type = pipeline::RecordType::point_result;
    entry.slot = wire::machine_slot;
    outbox.push(std::move(entry));
    EXPECT_FALSE(outbox.empty());
    OutboxEntry* const unsent = outbox.next_unsent();
    ASSERT_NE(unsent, nullptr);
    unsent->sent = true;
    EXPECT_TRUE(outbox.empty());
}

TEST(GroupSession, PointOfADiskThatIsNotSynchronisedIsRefused) {
    Harness h;
    const auto id = provisional(h);
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code, Errc::not_ready);
}

}  // namespace
}  // namespace cw::agent::test
