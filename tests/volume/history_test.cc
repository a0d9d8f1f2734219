#include "tests/volume/volume_rig.h"

namespace cw::volume::test {
namespace {

class HistoryTest : public VolumeTest {};

TEST_F(HistoryTest, EveryPointOfTheRetentionCanBeSwitchedTo) {
    retention_us_ = 3'600'000'000;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        const Stream stream(seed);
        const auto points = points_of(stream);
        for (const Step* const wanted : points) {
            begin(stream, seed);
            auto writer = open().value();
            ASSERT_TRUE(feed(*writer, stream));
            ASSERT_EQ(writer->kept_points().size(), points.size() - 1);
            if (seed % 2 == 0) {
                writer = open().value();  // What is kept is found again.
                ASSERT_EQ(writer->kept_points().size(), points.size() - 1);
            }
            ASSERT_TRUE(writer->begin_switch(wanted->point));
            EXPECT_EQ(target(), stream.original());
            ASSERT_TRUE(finish(*writer));
            EXPECT_TRUE(target() == wanted->image) << "seed " << seed;
            EXPECT_EQ(writer->point()->id, wanted->point);
            EXPECT_EQ(disk_->list("/beside").value(), std::vector<std::string>{"state"});
        }
    }
}

TEST_F(HistoryTest, PointsOlderThanTheRetentionAreForgotten) {
    retention_us_ = 1'500'000;  // Points are a second apart.
    const Stream stream(3);
    const auto points = points_of(stream);
    begin(stream, 3);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    ASSERT_EQ(writer->kept_points().size(), 1U);
    EXPECT_EQ(writer->kept_points()[0].point.id, points[points.size() - 2]->point);
    EXPECT_EQ(writer->begin_switch(points[0]->point).error().code, Errc::point_not_found);
    ASSERT_TRUE(writer->begin_switch(points[points.size() - 2]->point));
    EXPECT_EQ(writer->phase(), Phase::returning);
    ASSERT_TRUE(writer->cancel());  // The target has not been touched yet.
    EXPECT_EQ(target(), stream.original());
    EXPECT_TRUE(writer->kept_points().empty());
}

TEST_F(HistoryTest, PowerCutAtAnyOperationOfAReturnLeavesTheTargetOldOrMakesItTheEarlierPoint) {
    retention_us_ = 3'600'000'000;
    std::uint64_t cuts = 0, untouched = 0, returning = 0, switching = 0;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        const Stream stream(seed);
        const auto points = points_of(stream);
        const Step& wanted = *points[seed % (points.size() - 1)];
        for (std::uint64_t at = 1 + seed % 2;; at += 3) {
            begin(stream, seed * 1000 + at);
            disk_ = std::make_unique<CutDisk>(*storage_, at);
            bool promised = false;
            const auto run = [&]() -> Result<void> {
                CW_TRY_ASSIGN(auto writer, open());
                CW_TRY(feed(*writer, stream));
                CW_TRY(writer->begin_switch(wanted.point));
                promised = true;
                return finish(*writer);
            };
            if (run().has_value() && !disk_->cut()) {
                break;
            }
            ++cuts;
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            auto writer = open();
            ASSERT_TRUE(writer.has_value()) << to_string(writer.error()) << " cut " << at;
            if ((*writer)->phase() == Phase::collecting) {
                ++untouched;
                EXPECT_FALSE(promised);
                EXPECT_EQ(target(), stream.original()) << "seed " << seed << " cut " << at;
                ASSERT_TRUE(feed(**writer, stream));
                ASSERT_TRUE((*writer)->begin_switch(wanted.point)) << "seed " << seed;
            } else if ((*writer)->phase() == Phase::returning) {
                ++returning;
                EXPECT_EQ(target(), stream.original()) << "seed " << seed << " cut " << at;
            } else {
                ++switching;
            }
            ASSERT_TRUE(finish(**writer));
            EXPECT_TRUE(target() == wanted.image) << "seed " << seed << " cut " << at;
        }
    }
    EXPECT_GT(untouched, 100U) << "of " << cuts;
    EXPECT_GT(returning, 5U);
    EXPECT_GT(switching, 5U);
}

}  // namespace
}  // namespace cw::volume::test
