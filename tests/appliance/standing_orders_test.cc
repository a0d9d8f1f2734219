// What operators ordered outlasts a restart and is obeyed once.
#include "appliance/standing_orders.h"

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
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at));
    const auto orders = opened();
    EXPECT_FALSE(orders->resync_due(machine_, vda_, before));
    EXPECT_TRUE(orders->resync_due(machine_, vda_, at));
    EXPECT_FALSE(orders->resync_due(machine_, vdb_, at));
    EXPECT_FALSE(orders->resync_due(other_, vda_, at));
    ASSERT_TRUE(orders->resync_begun(machine_, vda_));
    EXPECT_FALSE(orders->resync_due(machine_, vda_, at));
    EXPECT_FALSE(opened()->resync_due(machine_, vda_, at));
}

TEST_F(StandingOrdersTest, AMachinesSessionIsEndedOnceForAllItsDueDisks) {
    const auto orders = opened();
    ASSERT_TRUE(orders->order_resync(machine_, vda_, at));
    ASSERT_TRUE(orders->order_resync(machine_, vdb_, at));
    ASSERT_TRUE(orders->order_resync(other_, vda_, WallMicros{raw(at) + 1}));
    EXPECT_THAT(orders->take_due(before), IsEmpty());
    EXPECT_THAT(orders->take_due(at), ElementsAre(machine_));
    EXPECT_THAT(orders->take_due(at), IsEmpty());
    // A restart asks again: nobody knows whether the agent has heard.
    EXPECT_THAT(opened()->take_due(at), ElementsAre(machine_));
}

TEST_F(StandingOrdersTest, AMachineThatIsAnothersHasNoResyncsHere) {
    ASSERT_TRUE(opened()->order_resync(machine_, vda_, at));
    ASSERT_TRUE(opened()->order_resync(other_, vda_, at));
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
    for (const std::string name : {"", "two words", "line\nbreak"}) {
        EXPECT_EQ(opened()->move_away(machine_, name).error().code, Errc::usage) << name;
    }
    EXPECT_EQ(opened()->moved_to(machine_), std::nullopt);
}

TEST_F(StandingOrdersTest, ADamagedFileIsToldAndNotGuessed) {
    for (const std::string text :
         {"resync", "resync x y 1", "moved nobody ps-2", "dance all night"}) {
        ASSERT_TRUE(write_file_atomically(*disk_, path(), as_bytes(text)));
        StandingOrders orders(*disk_, path());
        EXPECT_EQ(orders.load().error().code, Errc::config_invalid) << text;
    }
}

}  // namespace
}  // namespace cw::appliance
