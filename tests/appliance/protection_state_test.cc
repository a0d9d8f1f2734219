// A machine's protection state is what its disks and its agent make of it.
#include "appliance/protection_state.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

class ProtectionTest : public testing::Test {
protected:
    ProtectionTest() {
        machine_.disks.resize(2);
        for (upload::DiskStatus& disk : machine_.disks) {
            disk.size_bytes = 10 * gib;
            disk.protected_ = true;
        }
        machine_.points = 3;
        agent_.connected = true;
    }
    std::string_view state() { return name_of(protection_of(machine_, agent_).state); }

    upload::MachineStatus machine_;
    AgentStatus agent_;
};

TEST_F(ProtectionTest, BeginsUnprotectedAndIsProtectedWhenEveryDiskIs) {
    EXPECT_EQ(name_of(protection_of({}, {}).state), "unprotected");
    EXPECT_EQ(state(), "protected");
    machine_.disks[1].protected_ = false;
    EXPECT_EQ(state(), "unprotected");
}

TEST_F(ProtectionTest, AnOpenFenceIsTheFirstSyncUntilThereArePoints) {
    machine_.disks[1].open_fence = Seq{7};
    EXPECT_EQ(state(), "resyncing");
    machine_.points = 0;
    EXPECT_EQ(state(), "initial-sync");
}

TEST_F(ProtectionTest, AnAgentThatKeepsAMapIsDegradedAndSaysWhy) {
    agent_.mode = wire::ReplicationMode::bitmap;
    agent_.reason = "the queue is full";
    agent_.backlog_bytes = 10 * gib - 1;
    EXPECT_EQ(state(), "degraded");
    EXPECT_EQ(protection_of(machine_, agent_).reason, "the queue is full");
    agent_.connected = false;  // What it said last is no longer known to be so.
    EXPECT_EQ(state(), "protected");
}

TEST_F(ProtectionTest, HalfOfTheDisksOwedIsAResyncAndSoIsDamage) {
    agent_.mode = wire::ReplicationMode::bitmap;
    agent_.reason = "the queue is full";
    agent_.backlog_bytes = 10 * gib;
    EXPECT_EQ(state(), "resync-required");
    EXPECT_EQ(protection_of(machine_, agent_).reason, "the queue is full");
    agent_.mode = wire::ReplicationMode::data;
    EXPECT_EQ(state(), "protected");
    machine_.disks[0].damaged = true;
    EXPECT_EQ(state(), "resync-required");
}

TEST_F(ProtectionTest, ADiskThatWaitsForItsResyncSaysWhyAlsoWhileItsAgentIsAway) {
    agent_.required[machine_.disks[1].disk] = "half of it";
    EXPECT_EQ(state(), "resync-required");
    EXPECT_EQ(protection_of(machine_, agent_).reason, "half of it");
    agent_.connected = false;
    EXPECT_EQ(state(), "resync-required");
}

TEST_F(ProtectionTest, ADiskThatItsAgentLeavesOutCountsForNothing) {
    machine_.disks[1].protected_ = false;
    machine_.disks[1].damaged = true;
    machine_.disks[1].open_fence = Seq{7};
    machine_.disks[1].left_out = true;
    EXPECT_EQ(state(), "protected");
    machine_.disks[0].left_out = true;
    EXPECT_EQ(state(), "unprotected");
}

TEST_F(ProtectionTest, AComparisonSaysWhy) {
    machine_.disks[1].open_fence = Seq{7};
    agent_.resyncs[machine_.disks[1].disk] = "resize";
    EXPECT_EQ(protection_of(machine_, agent_).reason, "resize");
    machine_.disks[1].open_fence = {};
    EXPECT_EQ(protection_of(machine_, agent_).reason, "");
}

}  // namespace
}  // namespace cw::appliance
