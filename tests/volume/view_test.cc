// A point read beside the writer that goes on collecting: whatever it merges meanwhile, whichever
// way the two interleave, what is read is the disk at the point, or an error.
#include "egress/volume/point_changes.h"
#include "egress/volume/point_view.h"
#include "tests/volume/volume_rig.h"

#include <filesystem>

#include <unistd.h>

namespace cw::volume::test {
namespace {

// On real files: the kernel's locks tell who reads.
class ViewTest : public VolumeTest {
protected:
    ViewTest() {
        std::string path = testing::TempDir() + "/causeway-view.XXXXXX";
        directory_ = ::mkdtemp(path.data());
    }
    ~ViewTest() override { std::filesystem::remove_all(directory_); }

    void begin_here(const Stream& stream) {
        std::filesystem::remove_all(work());
        auto file = real_->open(directory_ + "/target", {.write = true, .create = true}).value();
        ASSERT_TRUE(write_at(*real_, *file, 0, stream.original(), true));
    }
    std::string work() const { return directory_ + "/work"; }
    std::unique_ptr<VolumeWriter> open_writer() {
        auto writer = VolumeWriter::open({.work_directory = work(),
                                          .target_path = directory_ + "/target",
                                          .disk = disk_id,
                                          .size_bytes = disk_size,
                                          .expected_identity = "",
                                          .retention_us = retention_us_},
                                         {*real_, probe_});
        EXPECT_TRUE(writer) << to_string(writer.error());
        return writer ? std::move(*writer) : nullptr;
    }
    Result<std::unique_ptr<PointView>> view(const PointId& point) {
        return PointView::open(*reading_, {.work_directory = work(),
                                           .target_path = directory_ + "/target",
                                           .point = point,
                                           .reader = "r" + std::to_string(++readers_)});
    }
    struct Open {
        std::unique_ptr<PointView> view;
        const Step* point;
    };
    // A random part of every view, against what the disk was at its point.
    void look(std::vector<Open>& views) {
        for (Open& one : views) {
            const std::uint64_t sectors = 1 + random_->below(40);
            const std::uint64_t offset = random_->below(disk_size / 512 - sectors) * 512;
            ByteVector got(sectors * 512);
            const auto read = one.view->read(offset, got);
            ASSERT_TRUE(read) << to_string(read.error());
            ASSERT_TRUE(
                std::ranges::equal(got, Bytes(one.point->image).subspan(offset, got.size())))
                << "at " << offset;
        }
    }
    void look_at_all(std::vector<Open>& views) {
        for (Open& one : views) {
            ByteVector whole(disk_size);
            const auto read = one.view->read(0, whole);
            ASSERT_TRUE(read) << to_string(read.error());
            EXPECT_TRUE(whole == one.point->image);
        }
    }

    std::string directory_;
    std::unique_ptr<Disk> real_ = make_posix_disk(), reading_ = make_posix_disk();
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    int readers_ = 0;
};

TEST_F(ViewTest, IsThePointWhateverIsMergedMeanwhile) {
    for (const std::int64_t retention : {std::int64_t{3'600'000'000}, std::int64_t{1'500'000}}) {
        retention_us_ = retention;
        for (std::uint64_t seed = 1; seed <= 4; ++seed) {
            SCOPED_TRACE(seed);
            const Stream stream(seed);
            begin_here(stream);
            auto writer = open_writer();
            std::vector<Open> views;
            for (const Step& step : stream.steps) {
                ASSERT_TRUE(writer->take(step.make(*pool_)));
                for (bool done = false; !done;) {
                    done = writer->merge_some(4 * kib).value();
                    ASSERT_NO_FATAL_FAILURE(look(views));
                }
                if (step.type == RecordType::point) {
                    auto opened = view(step.point);
                    ASSERT_TRUE(opened) << to_string(opened.error());
                    views.push_back({std::move(*opened), &step});
                    ASSERT_NO_FATAL_FAILURE(look_at_all(views));
                }
            }
            // What is read is kept, however old; what was read has its age again.
            EXPECT_EQ(writer->kept_points().size(), views.size() - 1);
            views.clear();
            writer.reset();  // A start in between.
            writer = open_writer();
            EXPECT_TRUE(points_being_read(*real_, work()).value().empty());
        }
    }
}

TEST_F(ViewTest, EveryPointOfTheListCanBeOpenedLater) {
    retention_us_ = 3'600'000'000;
    const Stream stream(3);
    begin_here(stream);
    auto writer = open_writer();
    for (const Step& step : stream.steps) {
        ASSERT_TRUE(writer->take(step.make(*pool_)));
        ASSERT_TRUE(merge(*writer));
    }
    const auto points = points_of(stream);
    const PointList list = list_points(*reading_, work()).value();
    ASSERT_EQ(list.points.size(), points.size());
    std::vector<Open> views;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const HeldPoint& held = list.points[i];
        EXPECT_EQ(held.id, points[points.size() - 1 - i]->point);
        EXPECT_EQ(held.tag, "at " + std::to_string(raw(held.source_time)));
        EXPECT_EQ(held.kind == pipeline::PointKind::app,
                  raw(held.source_time) / 1'000'000 % 2 == 0);
        views.push_back({view(points[i]->point).value(), points[i]});
    }
    look_at_all(views);
    EXPECT_EQ(view(make_id<PointId>(*random_)).error().code, Errc::point_not_found);
}

TEST_F(ViewTest, TheChangesBetweenTwoPointsHoldWhateverDiffers) {
    retention_us_ = 3'600'000'000;
    const Stream stream(4);
    begin_here(stream);
    auto writer = open_writer();
    for (const Step& step : stream.steps) {
        ASSERT_TRUE(writer->take(step.make(*pool_)));
        ASSERT_TRUE(merge(*writer));
    }
    const auto points = points_of(stream);
    std::uint64_t changed = 0;
    for (const Step* const from : points) {
        for (const Step* const to : points) {
            const auto ranges = changes_between(*reading_, work(), from->point, to->point);
            ASSERT_TRUE(ranges) << to_string(ranges.error());
            EXPECT_EQ(ranges->empty(), from == to);
            ByteVector image = from->image;
            std::uint64_t end = 0;
            for (const ChangedRange& range : *ranges) {
                ASSERT_TRUE(range.length > 0 && range.offset >= end);
                end = range.offset + range.length;
                ASSERT_LE(end, disk_size);
                std::ranges::copy(Bytes(to->image).subspan(range.offset, range.length),
                                  image.begin() + static_cast<long>(range.offset));
                changed += range.length;
            }
            ASSERT_TRUE(image == to->image);
        }
    }
    EXPECT_LT(changed, points.size() * points.size() * disk_size);
    EXPECT_EQ(changes_between(*reading_, work(), points[0]->point, PointId{}).error().code,
              Errc::point_not_found);
    std::filesystem::remove(work() + "/undo.2");
    EXPECT_EQ(
        changes_between(*reading_, work(), points[0]->point, points.back()->point).error().code,
        Errc::point_not_found);
}

TEST_F(ViewTest, WithoutARetentionAPointLivesAsLongAsItIsRead) {
    retention_us_ = 0;
    const Stream stream(5);
    begin_here(stream);
    auto writer = open_writer();
    std::vector<Open> views;
    std::size_t points = 0;
    for (const Step& step : stream.steps) {
        ASSERT_TRUE(writer->take(step.make(*pool_)));
        ASSERT_TRUE(merge(*writer));
        ASSERT_NO_FATAL_FAILURE(look(views));
        if (step.type == RecordType::point && ++points == 1) {
            views.push_back({view(step.point).value(), &step});
        } else if (step.type == RecordType::point && points == 3) {
            EXPECT_EQ(writer->kept_points().size(), 2U);
            views.clear();  // From the next merge on nothing is kept any more.
        }
    }
    EXPECT_TRUE(writer->kept_points().empty());
}

TEST_F(ViewTest, FailsOnceTheTargetIsSwitchedOrWhatWasCollectedIsForgotten) {
    retention_us_ = 3'600'000'000;
    const Stream stream(2);
    const auto points = points_of(stream);
    for (const bool switched : {true, false}) {
        begin_here(stream);
        auto writer = open_writer();
        for (const Step& step : stream.steps) {
            ASSERT_TRUE(writer->take(step.make(*pool_)));
            ASSERT_TRUE(merge(*writer));
        }
        const auto early = view(points[0]->point).value();
        const auto newest = view(points.back()->point).value();
        ByteVector some(4096);
        ASSERT_TRUE(early->read(0, some));
        if (switched) {
            ASSERT_TRUE(writer->begin_switch(points[1]->point));
            EXPECT_EQ(newest->read(0, some).error().code, Errc::target_switching);
            ASSERT_TRUE(finish(*writer));
        } else {
            ASSERT_TRUE(writer->cancel());
        }
        const Errc expected = switched ? Errc::target_switching : Errc::point_not_found;
        EXPECT_EQ(early->read(0, some).error().code, expected);
        EXPECT_EQ(view(points[0]->point).error().code, expected);
        // A new run with the same numbers is not taken for the old one.
        if (switched) {
            ASSERT_TRUE(writer->cancel());
        }
        for (const Step& step : stream.steps) {
            ASSERT_TRUE(writer->take(step.make(*pool_)));
            ASSERT_TRUE(merge(*writer));
        }
        EXPECT_FALSE(early->read(0, some));
    }
}

TEST_F(ViewTest, ADamagedUndoLogIsToldAndNotRead) {
    retention_us_ = 3'600'000'000;
    const Stream stream(4);
    begin_here(stream);
    auto writer = open_writer();
    for (const Step& step : stream.steps) {
        ASSERT_TRUE(writer->take(step.make(*pool_)));
        ASSERT_TRUE(merge(*writer));
    }
    const std::string undo =
        work() + "/undo." + std::to_string(writer->kept_points().back().number);
    auto file = real_->open(undo, {.write = true}).value();
    ByteVector byte(1);
    ASSERT_TRUE(read_at(*real_, *file, file->size() - 1, byte));
    byte[0] ^= std::byte{1};
    ASSERT_TRUE(write_at(*real_, *file, file->size() - 1, byte, false));
    const auto first = view(points_of(stream)[0]->point).value();
    ByteVector whole(disk_size);
    EXPECT_EQ(first->read(0, whole).error().code, Errc::record_corrupt);
    const auto newest = view(points_of(stream).back()->point).value();
    EXPECT_TRUE(newest->read(0, whole));
    EXPECT_TRUE(whole == points_of(stream).back()->image);
}

}  // namespace
}  // namespace cw::volume::test
