#include "egress/volume/point_check.h"
#include "tests/volume/volume_rig.h"

namespace cw::volume::test {
namespace {

class HistoryTest : public VolumeTest {
protected:
    // Target and work directory.
    std::uint64_t bytes_used() {
        std::uint64_t used = disk_size;
        const std::vector<std::string> names = disk_->list("/beside").value();
        for (const std::string& name : names) {
            used += storage_->contents("/beside/" + name).size();
        }
        return used;
    }
};

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

// Or a planned failover that is said again would take the point for all that there was.
TEST_F(HistoryTest, WhatWasTakenBeyondTheSwitchedPointIsKnownForEver) {
    retention_us_ = 3'600'000'000;
    Stream stream(2);
    stream.steps.pop_back();  // The last point: writes are the end now.
    const auto points = points_of(stream);
    for (const Step* const wanted : {points.front(), points.back()}) {
        begin(stream, 2);
        auto writer = open().value();
        ASSERT_TRUE(feed(*writer, stream));
        const Seq received = writer->received();
        ASSERT_LT(points.back()->seq, received);  // Writes follow the last point.
        ASSERT_TRUE(writer->begin_switch(wanted->point));
        ASSERT_TRUE(finish(*writer));
        writer.reset();
        ASSERT_TRUE(open());
        EXPECT_EQ(read_volume_state(*disk_, "/beside/state")->received, received);
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

TEST_F(HistoryTest, ACheckFindsWhichPointsAreWholeAndTouchesNothing) {
    retention_us_ = 3'600'000'000;
    const Stream stream(4);
    const auto points = points_of(stream);
    begin(stream, 4);
    EXPECT_EQ(check_points(*disk_, "/beside").error().code, Errc::not_found);
    auto writer = open().value();
    EXPECT_TRUE(check_points(*disk_, "/beside").value().empty());
    ASSERT_TRUE(feed(*writer, stream));
    const std::uint64_t changes = disk_->operations();
    auto checks = check_points(*disk_, "/beside").value();
    ASSERT_EQ(checks.size(), points.size());
    for (std::size_t i = 0; i < checks.size(); ++i) {
        EXPECT_EQ(checks[i].point.id, points[points.size() - 1 - i]->point);
        EXPECT_GT(checks[i].read_bytes, 0U);
        EXPECT_FALSE(checks[i].trouble) << i;
    }
    // Opening for reading counts as well: no more than that.
    EXPECT_LE(disk_->operations() - changes, 2 + points.size());
    // The newest and the way back to the one before it are whole; further back it is damaged.
    storage_->flip_bit("/beside/undo." + std::to_string(writer->kept_points()[1].number),
                       2 * block_bytes, 2);
    checks = check_points(*disk_, "/beside").value();
    ASSERT_EQ(checks.size(), points.size());
    for (std::size_t i = 0; i < checks.size(); ++i) {
        ASSERT_EQ(checks[i].trouble.has_value(), i >= 2) << i;
        EXPECT_TRUE(!checks[i].trouble || checks[i].trouble->code == Errc::record_corrupt);
    }
    storage_->flip_bit("/beside/overlay.map", 100, 2);
    checks = check_points(*disk_, "/beside").value();
    for (const PointCheck& check : checks) {
        ASSERT_TRUE(check.trouble);
        EXPECT_EQ(check.trouble->code, Errc::record_corrupt) << to_string(*check.trouble);
    }
}

TEST_F(HistoryTest, ADamagedUndoLogIsNoticedBeforeTheTargetIsTouchedAndCanBeCancelled) {
    retention_us_ = 3'600'000'000;
    const Stream stream(4);
    const auto points = points_of(stream);
    begin(stream, 4);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    const std::uint64_t number = writer->kept_points().front().number;
    storage_->flip_bit("/beside/undo." + std::to_string(number), 3 * block_bytes, 2);
    ASSERT_TRUE(writer->begin_switch(points[0]->point));
    EXPECT_EQ(finish(*writer).error().code, Errc::record_corrupt);
    EXPECT_EQ(target(), stream.original());
    writer = open().value();
    EXPECT_EQ(writer->phase(), Phase::returning);
    ASSERT_TRUE(writer->cancel());
    EXPECT_EQ(target(), stream.original());
    ASSERT_TRUE(feed(*writer, stream));  // And it can begin again.
    ASSERT_TRUE(writer->begin_switch(points[0]->point));
    ASSERT_TRUE(finish(*writer));
    EXPECT_TRUE(target() == points[0]->image);
}

TEST_F(HistoryTest, RecordsLostInTheMiddleOfAMergeTakeTheOverlayBackToThePointBefore) {
    retention_us_ = 3'600'000'000;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        const Stream stream(seed);
        const auto points = points_of(stream);
        begin(stream, seed);
        auto writer = open().value();
        for (const Step& step : stream.steps) {
            ASSERT_TRUE(writer->take(step.make(*pool_)));
            if (&step == points[1]) {
                break;
            }
            ASSERT_TRUE(merge(*writer));
        }
        const std::string undo = "/beside/undo." + std::to_string(2);
        // Until the undo log is whole and a little of the overlay is written.
        for (int i = 0; i < 1000 && !UndoLog::open(*disk_, undo, 2).value(); ++i) {
            ASSERT_FALSE(writer->merge_some(1).value());
        }
        writer.reset();
        storage_->flip_bit("/beside/redo.log", 100, 1);
        writer = open().value();
        ASSERT_TRUE(writer->point().has_value());
        EXPECT_EQ(writer->point()->id, points[0]->point);
        EXPECT_EQ(writer->received(), points[0]->seq);
        ASSERT_TRUE(writer->begin_switch(points[0]->point));
        ASSERT_TRUE(finish(*writer));
        EXPECT_TRUE(target() == points[0]->image) << "seed " << seed;
    }
}

TEST_F(HistoryTest, WithoutRoomEarlierPointsAreGivenUpAndTheNewestIsHeld) {
    retention_us_ = 3'600'000'000;
    const Stream stream(6);
    const auto points = points_of(stream);
    begin(stream, 6);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    ASSERT_GT(writer->kept_points().size(), 1U);
    const std::uint64_t all = bytes_used();
    std::size_t given_up = 0, failed = 0;
    for (std::uint64_t capacity = all; capacity > all / 2; capacity -= 16 * kib) {
        begin(stream, 7);
        storage_->plan().capacity_bytes = capacity;
        writer = open().value();
        if (!feed(*writer, stream)) {
            ++failed;  // Less than overlay and redo log need.
            EXPECT_EQ(target(), stream.original());
            continue;
        }
        given_up += writer->kept_points().size() + 1 < points.size() ? 1U : 0U;
        ASSERT_TRUE(writer->begin_switch(points.back()->point));
        ASSERT_TRUE(finish(*writer));
        EXPECT_TRUE(target() == points.back()->image) << "capacity " << capacity;
    }
    EXPECT_GT(given_up, 0U);
    EXPECT_GT(failed, 0U);
}

// Half a merge without an undo log must not become the content of an earlier point.
TEST_F(HistoryTest, APowerCutAfterHistoryWasGivenUpLeavesNoWrongPoint) {
    retention_us_ = 3'600'000'000;
    const Stream stream(6);
    const auto points = points_of(stream);
    begin(stream, 6);
    {
        auto writer = open().value();
        ASSERT_TRUE(feed(*writer, stream));
    }
    const std::uint64_t all = bytes_used();
    std::uint64_t cuts = 0, kept = 0;
    for (std::uint64_t at = 20; at < 400; at += 2) {
        for (const std::uint64_t capacity : {all - 64 * kib, all - 160 * kib, all - 320 * kib}) {
            begin(stream, at);
            disk_ = std::make_unique<CutDisk>(*storage_, at);
            storage_->plan().capacity_bytes = capacity;
            {
                auto writer = open();
                if (!writer || feed(**writer, stream) || !disk_->cut()) {
                    continue;
                }
            }
            ++cuts;
            storage_->plan().capacity_bytes = UINT64_MAX;
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            auto writer = open().value();
            ASSERT_TRUE(feed(*writer, stream));
            kept += writer->kept_points().size();
            PointId wanted = writer->point()->id;
            if (!writer->kept_points().empty()) {
                const auto& earlier = writer->kept_points();
                wanted = earlier[at / 2 % earlier.size()].point.id;
            }
            ASSERT_TRUE(writer->begin_switch(wanted));
            ASSERT_TRUE(finish(*writer));
            EXPECT_TRUE(target() == image_of(stream, wanted)) << "cut " << at << ", " << capacity;
        }
    }
    EXPECT_GT(cuts, 50U);
    EXPECT_GT(kept, 50U);
}

}  // namespace
}  // namespace cw::volume::test
