#include "recovery/point_diff.h"

#include "recovery/vault_points.h"
#include "tests/recovery/world.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

PointDisk disk_at(const Catalog& catalog, const PointId& id) {
    const vault::PointEntry* point = catalog.find_point(to_string(id)).value();
    return {point, catalog.find_disk(*point, "").value()};
}

// A later point that differs from the last one.
PointId change(World& world) {
    const ByteVector before = world.model.truth().at(world.model.publish_point());
    for (int i = 0; i < 100; ++i) {
        world.model.step();
        const PointId point = world.model.publish_point();
        if (world.model.truth().at(point) != before) {
            return point;
        }
    }
    ADD_FAILURE() << "the model writes nothing";
    return {};
}

struct Applied {
    PointDiffReport report;
    ByteVector image;
};

// The image of `from` with what diff_points() gives written over it.
Applied apply(World& world, const Catalog& catalog, const PointId& from, const PointId& to) {
    Applied out{.report = {}, .image = world.model.truth().at(from)};
    std::uint64_t end = 0;
    const auto report = diff_points(
        VaultPoints(*world.store, catalog), {disk_at(catalog, from), disk_at(catalog, to)}, {},
        [&](std::uint64_t offset, Bytes data) -> Result<void> {
            EXPECT_GE(offset, end);
            EXPECT_EQ(offset % sector_bytes, 0U);
            EXPECT_EQ(data.size() % sector_bytes, 0U);
            EXPECT_TRUE(!data.empty() && data.size() <= diff_piece_bytes_max);
            end = offset + data.size();
            if (end <= out.image.size()) {
                std::ranges::copy(data, out.image.begin() + static_cast<std::ptrdiff_t>(offset));
            }
            return {};
        },
        [](std::uint64_t, std::uint64_t) {});
    EXPECT_TRUE(report) << (report ? "" : to_string(report.error()));
    out.report = report.value_or(PointDiffReport{});
    return out;
}

TEST(PointDiff, OverTheOlderImageIsTheNewerOneWhateverHappenedBetween) {
    std::size_t pairs = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        World world(seed);
        for (int i = 0; i < 40; ++i) {
            world.model.step();
        }
        world.model.publish_point();
        const Catalog catalog = world.catalog();
        std::vector<PointId> points;
        for (const auto* point : catalog.points()) {
            points.push_back(point->id);
        }
        for (std::size_t i = 0; i + 1 < points.size(); ++i) {
            const std::size_t j = i + 1 + world.random->below(points.size() - i - 1);
            for (const auto& [from, to] :
                 {std::pair(points[i], points[j]), std::pair(points[j], points[i])}) {
                ASSERT_TRUE(apply(world, catalog, from, to).image == world.model.truth().at(to));
                ++pairs;
            }
        }
    }
    EXPECT_GT(pairs, 15U);
}

TEST(PointDiff, ReadsWhatDiffersAndNotTheDisk) {
    World world(3, 64 * mib);
    for (int i = 0; i < 6; ++i) {
        world.model.step();
    }
    const PointId before = world.model.publish_point();
    const PointId after = change(world);
    const Catalog catalog = world.catalog();
    const ByteVector &old = world.model.truth().at(before), &now = world.model.truth().at(after);
    std::uint64_t differing = 0;
    for (std::size_t at = 0; at < now.size(); at += sector_bytes) {
        const auto begin = static_cast<std::ptrdiff_t>(at);
        differing +=
            std::equal(now.begin() + begin, now.begin() + begin + sector_bytes, old.begin() + begin)
                ? 0
                : sector_bytes;
    }
    ASSERT_GT(differing, 0U);
    const Applied applied = apply(world, catalog, before, after);
    EXPECT_TRUE(applied.image == now);
    EXPECT_GE(applied.report.differing_bytes, differing);
    EXPECT_LT(applied.report.differing_bytes, differing + 8 * mib);
    EXPECT_LT(applied.report.fetched_bytes, applied.report.differing_bytes + 8 * mib);
    const Applied none = apply(world, catalog, after, after);
    EXPECT_EQ(none.report.differing_bytes, 0U);
    EXPECT_EQ(none.report.fetched_bytes, 0U);
}

TEST(PointDiff, RefusesADiskThatWasResizedBetween) {
    World world(4);
    const PointId point = world.model.publish_point();
    const Catalog catalog = world.catalog();
    const PointDisk to = disk_at(catalog, point);
    PointDisk from = to;
    from.disk.size_bytes += sector_bytes;
    const auto diff = diff_points(
        VaultPoints(*world.store, catalog), {from, to}, {},
        [](std::uint64_t, Bytes) { return Result<void>{}; }, [](std::uint64_t, std::uint64_t) {});
    ASSERT_FALSE(diff);
    EXPECT_EQ(diff.error().code, Errc::size_mismatch);
}

TEST(PointDiff, ErrorOfItsReaderEndsIt) {
    World world(6);
    for (int i = 0; i < 10; ++i) {
        world.model.step();
    }
    const PointId from = world.model.publish_point(), to = change(world);
    const Catalog catalog = world.catalog();
    std::size_t taken = 0;
    const auto diff = diff_points(
        VaultPoints(*world.store, catalog), {disk_at(catalog, from), disk_at(catalog, to)}, {},
        [&taken](std::uint64_t, Bytes) -> Result<void> {
            ++taken;
            return fail(Errc::out_of_budget);
        },
        [](std::uint64_t, std::uint64_t) {});
    ASSERT_FALSE(diff);
    EXPECT_EQ(diff.error().code, Errc::out_of_budget);
    EXPECT_EQ(taken, 1U);
}

}  // namespace
}  // namespace cw::recovery
