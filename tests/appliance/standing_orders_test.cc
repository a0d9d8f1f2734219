// What operators ordered outlasts a restart and is obeyed once.
#include "appliance/standing_orders.h"

#include "appliance/standing_trouble.h"
#include "base/assert.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr WallMicros at{1'000'000}, before{999'999};

class StandingOrdersTest : public testing::Test {
protected:
    StandingOrdersTest() {
        std::string pattern = testing::TempDir() + "cw_orders_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
    }
    ~StandingOrdersTest() override { std::filesystem::remove_all(directory_); }
    // As a server finds them when it starts.
    std::unique_ptr<StandingOrders> opened() {
        auto orders = std::make_unique<StandingOrders>(*disk_, path());
        EXPECT_TRUE(orders->load());
        return orders;
    }
    [[nodiscard]] std::string path() const { return directory_ + "/orders"; }

    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::string directory_;
    MachineId machine_{{std::byte{1}}}, other_{{std::byte{2}}};
    DiskId vda_{{std::byte{3}}}, vdb_{{std::byte{4}}};
};

TEST_F(StandingOrdersTest, AResyncIsDueFromItsTimeUntilItHasBegun) {
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at, "why"));
    const auto orders = opened();
    EXPECT_FALSE(orders->resync_due(machine_, vda_, before));
    EXPECT_TRUE(orders->resync_due(machine_, vda_, at));
    EXPECT_FALSE(orders->resync_due(machine_, vdb_, at));
    EXPECT_FALSE(orders->resync_due(other_, vda_, at));
    ASSERT_TRUE(orders->resync_begun(machine_, vda_));
    EXPECT_FALSE(orders->resync_due(machine_, vda_, at));
    EXPECT_FALSE(opened()->resync_due(machine_, vda_, at));
}

TEST_F(StandingOrdersTest, WhatCouldNotBeWrittenIsWrittenAsSoonAsItCanBeAndIsShownUntilThen) {
    ManualClock clock;
    Conditions conditions(clock);
    StandingTrouble trouble(conditions, "orders");
    const auto orders = opened();
    std::filesystem::remove_all(directory_);
    const Result<void> refused = orders->order_resync(machine_, vda_, at, "why");
    ASSERT_FALSE(refused);
    trouble.show(orders->save());
    EXPECT_TRUE(conditions.standing(refused.error().code));
    trouble.show(orders->forget_resyncs(other_));  // Writes nothing: proves nothing.
    trouble.show(orders->save());
    EXPECT_TRUE(conditions.standing(refused.error().code));
    std::filesystem::create_directory(directory_);
    trouble.show(orders->save());
    EXPECT_FALSE(conditions.standing(refused.error().code));
    EXPECT_TRUE(opened()->resync_due(machine_, vda_, at));
}

TEST_F(StandingOrdersTest, AMachinesSessionIsEndedOnceForAllItsDueDisks) {
    const auto orders = opened();
    ASSERT_TRUE(orders->order_resync(machine_, vda_, at, "why"));
    ASSERT_TRUE(orders->order_resync(machine_, vdb_, at, "why"));
    ASSERT_TRUE(orders->order_resync(other_, vda_, WallMicros{raw(at) + 1}, "why"));
    EXPECT_THAT(orders->take_due(before), IsEmpty());
    EXPECT_THAT(orders->take_due(at), ElementsAre(machine_));
    EXPECT_THAT(orders->take_due(at), IsEmpty());
    // A restart asks again: nobody knows whether the agent has heard.
    EXPECT_THAT(opened()->take_due(at), ElementsAre(machine_));
}

TEST_F(StandingOrdersTest, OneDiskThatHasBegunLeavesTheOthersDue) {
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at, "why"));
    ASSERT_TRUE(opened()->order_resync(machine_, vdb_, at, "why"));
    ASSERT_TRUE(opened()->resync_begun(machine_, vda_));
    EXPECT_FALSE(opened()->resync_due(machine_, vda_, at));
    EXPECT_TRUE(opened()->resync_due(machine_, vdb_, at));
}

TEST_F(StandingOrdersTest, ANewOrderReplacesTheOneBeforeAndEndsTheSessionAgain) {
    const auto orders = opened();
    ASSERT_TRUE(orders->order_resync(machine_, vda_, before, "why"));
    EXPECT_THAT(orders->take_due(before), ElementsAre(machine_));
    ASSERT_TRUE(orders->order_resync(machine_, vda_, at, "why"));
    EXPECT_FALSE(orders->resync_due(machine_, vda_, before));
    EXPECT_THAT(orders->take_due(before), IsEmpty());
    EXPECT_THAT(orders->take_due(at), ElementsAre(machine_));
    EXPECT_FALSE(opened()->resync_due(machine_, vda_, before));
}

TEST_F(StandingOrdersTest, TheReasonIsKeptOnOneLine) {
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at, "half of\nit, and more"));
    EXPECT_EQ(opened()->resync_due(machine_, vda_, at), "half of it, and more");
    EXPECT_EQ(opened()->resync_due(machine_, vda_, before), std::nullopt);
    // A file of a server that kept none.
    const std::string line =
        "resync " + to_string(machine_) + " " + to_string(vdb_) + " " + std::to_string(raw(at));
    ASSERT_TRUE(write_file_atomically(*disk_, path(), as_bytes(line + "\n")));
    EXPECT_EQ(opened()->resync_due(machine_, vdb_, at), "ordered by an operator");
}

TEST_F(StandingOrdersTest, WhatAnAgentRequiresDoesNotPutOffWhatIsOrdered) {
    const auto orders = opened();
    const WallMicros late{raw(at) + 1};
    EXPECT_EQ(orders->require_resync(machine_, vda_, at, "half", before).value(), at);
    EXPECT_EQ(orders->require_resync(machine_, vda_, late, "more", before).value(), at);
    EXPECT_EQ(orders->resync_due(machine_, vda_, at), "half");
    EXPECT_EQ(opened()->resync_due(machine_, vda_, at), "half");
    // By hand it is done earlier, and the agent that goes on asking changes nothing.
    ASSERT_TRUE(orders->order_resync(machine_, vda_, before, "by hand"));
    EXPECT_EQ(orders->require_resync(machine_, vda_, at, "half", before).value(), before);
    EXPECT_EQ(orders->resync_due(machine_, vda_, before), "by hand");
}

TEST_F(StandingOrdersTest, AnAgentThatStillAsksWhenItIsDueIsToldAgain) {
    const auto orders = opened();
    ASSERT_TRUE(orders->require_resync(machine_, vda_, at, "half", before));
    EXPECT_THAT(orders->take_due(at), ElementsAre(machine_));
    EXPECT_THAT(orders->take_due(at), IsEmpty());
    ASSERT_TRUE(orders->require_resync(machine_, vda_, at, "half", at));
    EXPECT_THAT(orders->take_due(at), ElementsAre(machine_));
}

TEST_F(StandingOrdersTest, BothKindsAreKeptSideBySide) {
    ASSERT_TRUE(opened()->move_away(machine_, "ps-2"));
    ASSERT_TRUE(opened()->order_resync(other_, vda_, at, "why"));
    ASSERT_TRUE(opened()->move_away(other_, "ps-3"));
    EXPECT_EQ(opened()->moved_to(machine_), "ps-2");
    EXPECT_EQ(opened()->moved_to(other_), "ps-3");
    EXPECT_TRUE(opened()->resync_due(other_, vda_, at));
    ASSERT_TRUE(opened()->take_back(machine_));
    EXPECT_EQ(opened()->moved_to(other_), "ps-3");
    EXPECT_TRUE(opened()->resync_due(other_, vda_, at));
}

TEST_F(StandingOrdersTest, WhatCannotBeKeptIsToldAndWhatIsDoneIsDone) {
    const auto orders = opened();
    ASSERT_TRUE(orders->order_resync(machine_, vda_, at, "why"));
    std::filesystem::remove_all(directory_);
    EXPECT_FALSE(orders->order_resync(machine_, vdb_, at, "why"));
    EXPECT_FALSE(orders->move_away(machine_, "ps-2"));
    EXPECT_FALSE(orders->resync_begun(machine_, vda_));
    EXPECT_FALSE(orders->resync_due(machine_, vda_, at));
}

TEST_F(StandingOrdersTest, AMachineThatIsAnothersHasNoResyncsHere) {
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at, "why"));
    ASSERT_TRUE(opened()->order_resync(other_, vda_, at, "why"));
    ASSERT_TRUE(opened()->forget_resyncs(machine_));
    EXPECT_FALSE(opened()->resync_due(machine_, vda_, at));
    EXPECT_TRUE(opened()->resync_due(other_, vda_, at));
}

TEST_F(StandingOrdersTest, AMovedMachineStaysAwayUntilItIsTakenBack) {
    ASSERT_TRUE(opened()->move_away(machine_, "ps-2:9443"));
    EXPECT_EQ(opened()->moved_to(machine_), "ps-2:9443");
    EXPECT_EQ(opened()->moved_to(other_), std::nullopt);
    ASSERT_TRUE(opened()->take_back(machine_));
    EXPECT_EQ(opened()->moved_to(machine_), std::nullopt);
}

TEST_F(StandingOrdersTest, ANameThatWouldBreakTheFileIsRefused) {
    const std::string names[] = {"",        "two words", "line\nbreak",
                                 "del\x7f", "\xc3\xa9",  std::string(129, 'x')};
    for (const std::string& name : names) {
        const auto moved = opened()->move_away(machine_, name);
        ASSERT_FALSE(moved) << name;
        EXPECT_EQ(moved.error().code, Errc::usage) << name;
    }
    EXPECT_EQ(opened()->moved_to(machine_), std::nullopt);
    ASSERT_TRUE(opened()->move_away(machine_, std::string(128, 'x')));
    EXPECT_EQ(opened()->moved_to(machine_), std::string(128, 'x'));
}

TEST_F(StandingOrdersTest, ADamagedFileIsToldAndNotGuessed) {
    const std::string machine = to_string(machine_), disk = to_string(vda_);
    const std::string texts[] = {"resync",
                                 "resync x y 1",
                                 "moved nobody ps-2",
                                 "dance all night",
                                 "moved " + machine,
                                 "moved " + machine + " " + std::string(129, 'x'),
                                 "moved " + machine + " ps-2 ps-3",
                                 "resync " + machine + " " + disk,
                                 "resync " + machine + " " + disk + " soon",
                                 "resync " + machine + " " + disk + " 1x",
                                 "dance " + machine + " " + disk + " 1",
                                 "moved " + machine + " ps-2\nresync"};
    for (const std::string& text : texts) {
        ASSERT_TRUE(write_file_atomically(*disk_, path(), as_bytes(text)));
        StandingOrders orders(*disk_, path());
        const auto loaded = orders.load();
        ASSERT_FALSE(loaded) << text;
        EXPECT_EQ(loaded.error().code, Errc::config_invalid) << text;
    }
}

}  // namespace
}  // namespace cw::appliance
