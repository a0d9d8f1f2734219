// Upkeep: what it asks of the vault, and when.
#include "appliance/maintenance.h"

#include "tests/recovery/world.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

constexpr std::int64_t interval_ns = 600 * ns_per_s, hour_ns = 3600 * ns_per_s;

// Half of the worlds begin with an initial synchronisation.
std::unique_ptr<recovery::World> empty_world() {
    std::unique_ptr<recovery::World> world;
    for (std::uint64_t seed = 1; !world || !world->rig.state.segments.empty(); ++seed) {
        world = std::make_unique<recovery::World>(seed);
    }
    return world;
}

// One machine with one segment that is alive, in a vault in memory.
class MaintenanceTest : public testing::Test {
protected:
    MaintenanceTest() {
        std::string pattern = testing::TempDir() + "cw_upkeep_XXXXXX";
        CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
        point_ = publish(Seq{1});
        Maintenance::Options options;
        options.interval_ns = interval_ns;
        options.retention.fallback_us = 1000 * 24 * recovery::us_per_hour;
        upkeep_.emplace(
            Maintenance::Ports{
                .clock = world_->clock,
                .random = *world_->random,
                .disk = *disk_,
                .conditions = conditions_,
                .stores = *world_->factory,
                .gc_stores = world_->factory.get(),
                .kek = *world_->kek,
                .signer = world_->rig.signer,
                .owned =
                    [this] {
                        return std::vector<OwnedChain>{
                            {world_->machine, world_->rig.state.newest.number}};
                    },
                .prune = [this](upload::PruneCommand command) { orders_.push_back(command); },
                .state_dir = directory_},
            options);
    }
    ~MaintenanceTest() override { std::filesystem::remove_all(directory_); }

    vault::SegmentRef segment(Seq seq) {
        return world_->rig.put({.disk = world_->disk,
                                .first = seq,
                                .last = seq,
                                .extents = {{.offset = raw(seq) * 4096,
                                             .bytes = fakes::text_bytes(raw(seq), 4096),
                                             .seq = seq}}});
    }
    PointId publish(Seq seq) {
        vault::SegmentRef ref = segment(seq);
        world_->rig.disk(world_->disk).committed = seq;
        return world_->rig.publish_point({std::move(ref)}, world_->clock.wall());
    }
    std::uint64_t requests() const {
        std::uint64_t sum = 0;
        for (std::size_t op = 0; op < fakes::blob_op_count; ++op) {
            sum += world_->memory.requests(static_cast<BlobOp>(op));
        }
        return sum;
    }
    // Requests of one round, an interval after the one before.
    std::uint64_t round(std::int64_t later_ns = interval_ns) {
        world_->clock.advance(later_ns);
        const std::uint64_t before = requests();
        upkeep_->run_once();
        return requests() - before;
    }
    void settle() {
        EXPECT_GT(round(), 0U);
        EXPECT_EQ(round(), 0U);
    }

    std::unique_ptr<recovery::World> world_ = empty_world();
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::string directory_;
    Conditions conditions_{world_->clock};
    std::vector<upload::PruneCommand> orders_;
    PointId point_;
    std::optional<Maintenance> upkeep_;
};

TEST_F(MaintenanceTest, AMachineThatDidNotChangeCostsNoRequest) {
    settle();
    for (int i = 0; i < 100; ++i) {  // Less than a day.
        ASSERT_EQ(round(), 0U) << i;
    }
    EXPECT_TRUE(orders_.empty());
}

TEST_F(MaintenanceTest, ANewManifestIsLookedAtOnce) {
    settle();
    publish(Seq{2});
    settle();
}

// With points of an hour and more, of which those older than that are not wanted any more.
class OldPoints : public MaintenanceTest {
protected:
    void SetUp() override {
        for (std::uint64_t seq = 2; seq <= 3; ++seq) {
            world_->clock.advance(hour_ns / 2);
            publish(Seq{seq});
        }
        settle();
        ASSERT_TRUE(orders_.empty());
        upkeep_->set_retention({.fallback_us = recovery::us_per_hour, .by_machine = {}});
    }
};

TEST_F(OldPoints, GoByTimeAloneAlthoughTheChainStaysAsItIs) {
    EXPECT_GT(round(), 0U);
    ASSERT_EQ(orders_.size(), 1U);
    EXPECT_THAT(orders_[0].points, testing::Contains(point_));
    EXPECT_EQ(orders_[0].decided_at, world_->rig.state.newest.number);
}

TEST_F(OldPoints, AreDecidedAboutAgainUntilThePublisherHasTakenThem) {
    round();
    round();
    ASSERT_EQ(orders_.size(), 2U);
    EXPECT_THAT(orders_[1].points, testing::Contains(point_));
}

TEST_F(MaintenanceTest, GarbageGoesAlthoughTheChainStaysAsItIs) {
    settle();
    const blob::BlobName lost = segment_blob(segment(Seq{9}).name);
    std::uint64_t asked = 0;
    int hours = 0;
    for (; world_->memory.bytes(lost).has_value() && hours < 72; ++hours) {
        asked += round(hour_ns);
    }
    EXPECT_LT(hours, 72);
    EXPECT_GT(hours, 24) << "the grace time";
    EXPECT_LT(asked, 1000U);
    EXPECT_TRUE(world_->memory.bytes(segment_blob(world_->rig.state.segments.begin()->first)));
}

TEST_F(MaintenanceTest, ARoundThatFailsIsTriedAgainAndItsConditionCleared) {
    world_->memory.script(BlobOp::get, BlobFault::denied, 100);
    round();
    EXPECT_TRUE(conditions_.standing(Errc::blob_auth));
    for (int i = 0; i < 100 && conditions_.standing(Errc::blob_auth); ++i) {
        EXPECT_GT(round(), 0U);
    }
    EXPECT_FALSE(conditions_.standing(Errc::blob_auth));
    EXPECT_EQ(round(), 0U);
}

}  // namespace
}  // namespace cw::appliance
