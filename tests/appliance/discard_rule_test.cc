#include "appliance/discard_rule.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using upload::MachineMode;

class DiscardRule : public ::testing::Test {
protected:
    DiscardRule() { machine_.disks.emplace_back().disk.bytes[0] = std::byte{7}; }
    bool may() { return may_discard(machine_, conditions_.list()).has_value(); }
    void lose(const DiskId& disk) {
        conditions_.raise(Errc::spool_lost_durable, "disk " + to_string(disk), "a test");
    }

    ManualClock clock_;
    Conditions conditions_{clock_};
    upload::MachineStatus machine_;
};

TEST_F(DiscardRule, WhatIsOnItsWayToTheVaultStays) {
    for (const MachineMode mode :
         {MachineMode::waiting, MachineMode::opening, MachineMode::active}) {
        machine_.mode = mode;
        const auto refused = may_discard(machine_, {});
        ASSERT_FALSE(refused.has_value());
        EXPECT_EQ(refused.error().code, Errc::transition_refused);
    }
    machine_.mode = MachineMode::waiting;
    machine_.trouble = Error{Errc::blob_unavailable, "it is tried again by itself"};
    EXPECT_FALSE(may());
}

TEST_F(DiscardRule, WhatAnotherServerHasOrAPersonMustPutRightMayGo) {
    machine_.mode = MachineMode::fenced;
    EXPECT_TRUE(may());
    machine_.mode = MachineMode::closed;
    EXPECT_TRUE(may());
    machine_.mode = MachineMode::waiting;
    machine_.trouble = Error{Errc::vault_rolled_back, "nobody can publish there"};
    EXPECT_TRUE(may());
}

TEST_F(DiscardRule, WhatOnlyItsAgentCouldRepairMayGo) {
    machine_.mode = MachineMode::active;
    machine_.disks[0].damaged = true;
    EXPECT_TRUE(may());
    machine_.disks[0].damaged = false;
    DiskId other;
    other.bytes[0] = std::byte{8};
    lose(other);
    EXPECT_FALSE(may());
    lose(machine_.disks[0].disk);
    EXPECT_TRUE(may());
}

}  // namespace
}  // namespace cw::appliance
