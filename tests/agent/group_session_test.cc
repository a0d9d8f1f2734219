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

// It was sent, and nobody acknowledges it: the server may have died before it had it.
TEST(GroupSession, ResultIsSaidAgainInTheNextSession) {
    for (const bool committed : {true, false}) {
        Harness h;
        ASSERT_TRUE(h.run_until_protected());
        h.write(0, mib, 4096, 1);
        const auto id = provisional(h);
        ASSERT_TRUE(id.has_value());
        h.replicator->decide_point(*id, group, committed);
        ASSERT_TRUE(h.run_until([&] { return h.server.results.contains(*id); }));
        ASSERT_TRUE(h.run_until([&] { return h.outbox->empty(); }));
        h.server.results.clear();
        h.server.crash();
        h.steps(50);
        ASSERT_TRUE(h.run_until([&] { return h.server.results.contains(*id); }));
        EXPECT_EQ(h.server.results.at(*id), committed);
        EXPECT_TRUE(h.run_until([&] { return h.outbox->empty(); }));
        EXPECT_EQ(h.outbox->payload_bytes(), 0U);
        h.expect_no_violations();
    }
}

TEST(GroupSession, TheNewestResultsAreSaidAgainInTheirOrderAndNotAllThatEverWere) {
    Outbox outbox(mib);
    const auto send_all = [&] {
        std::vector<PointId> sent;
        while (OutboxEntry* const unsent = outbox.next_unsent()) {
            unsent->sent = true;
            sent.push_back(unsent->point);
        }
        EXPECT_TRUE(outbox.empty());
        EXPECT_EQ(outbox.payload_bytes(), 0U);
        return sent;
    };
    std::vector<PointId> said;
    for (std::size_t i = 0; i < Outbox::results_told_max + 5; ++i) {
        OutboxEntry entry;
        entry.record.header.type = pipeline::RecordType::point_result;
        entry.record.header.table_bytes = block_bytes;
        entry.slot = wire::machine_slot;
        entry.point = PointId{{std::byte{1}, std::byte{static_cast<unsigned char>(i)}}};
        said.push_back(entry.point);
        outbox.push(std::move(entry));
    }
    EXPECT_EQ(send_all(), said);
    const std::vector<PointId> newest(said.begin() + 5, said.end());
    for (int session = 0; session < 3; ++session) {
        outbox.rewind({});
        EXPECT_EQ(send_all(), newest);
    }
}

TEST(GroupSession, PointOfADiskThatIsNotSynchronisedIsRefused) {
    Harness h;
    const auto id = provisional(h);
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code, Errc::not_ready);
}

}  // namespace
}  // namespace cw::agent::test
