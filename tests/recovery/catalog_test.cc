#include "recovery/catalog.h"

#include "tests/recovery/world.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

TEST(Catalog, FindsPointsByWhatPeopleSay) {
    World world(2);
    const auto point_at = [&](std::int64_t seconds, vault::PointKind kind) {
        return world.rig.publish_point({}, WallMicros{seconds * 1'000'000}, kind);
    };
    const PointId first = point_at(1'700'000'000, vault::PointKind::crash);
    const PointId app = point_at(1'700'000'060, vault::PointKind::app);
    const PointId jumped =
        point_at(1'600'000'000, vault::PointKind::crash);  // The clock went back.
    const Catalog catalog = world.catalog();
    const auto found = [&](std::string_view which) { return (*catalog.find_point(which))->id; };
    EXPECT_EQ(found("latest"), jumped);
    EXPECT_EQ(found("latest-app"), app);
    EXPECT_EQ(found(to_string(first)), first);
    EXPECT_EQ(found(to_string(first).substr(0, 8)), first);
    EXPECT_EQ(found("2023-11-14T22:14:19Z"), jumped);
    EXPECT_EQ(found("2021-01-01T00:00:00Z"), jumped);
    EXPECT_EQ(catalog.find_point("2019-01-01T00:00:00Z").error().code, Errc::point_not_found);
    EXPECT_EQ(catalog.find_point("ffffffff").error().code, Errc::point_not_found);
    EXPECT_EQ(catalog.find_point("yesterday").error().code, Errc::usage);
    EXPECT_EQ(catalog.find_point("2023-11-14 22:14").error().code, Errc::usage);
}

TEST(Catalog, ListsWhatWasPublishedTogetherAsItWasMade) {
    struct Made {
        unsigned char id;
        std::int64_t time;
        std::vector<std::pair<unsigned char, std::uint64_t>> cuts;  // Disk, sequence.
    };
    // The order in which they were made, and no order of ids. A disk that hung is in one of them
    // less, nothing was written before two of them, and the clock went back at the end.
    const std::vector<Made> made{{9, 100, {{1, 5}, {2, 50}}}, {5, 110, {{1, 6}}},
                                 {7, 120, {{1, 7}, {2, 51}}}, {3, 130, {{1, 7}, {2, 51}}},
                                 {1, 140, {{1, 7}, {2, 51}}}, {6, 90, {{1, 8}, {2, 52}}}};
    vault::ChainState state;
    for (const Made& one : made) {
        vault::PointEntry point;
        point.id.bytes.back() = std::byte{one.id};
        point.source_time = WallMicros{one.time};
        point.manifest = 4;
        for (const auto& [number, cut] : one.cuts) {
            DiskId disk;
            disk.bytes.back() = std::byte{number};
            point.cuts.push_back({.disk = disk, .generation = Generation{1}, .cut = Seq{cut}});
        }
        state.points.emplace(point.id, point);
    }
    std::vector<int> listed;
    const Catalog catalog = Catalog::of_points({}, {}, std::move(state), {});
    for (const vault::PointEntry* point : catalog.points()) {
        listed.push_back(static_cast<int>(point->id.bytes.back()));
    }
    EXPECT_EQ(listed, (std::vector{9, 5, 7, 3, 1, 6}));
}

TEST(Catalog, F4_RefusesARolledBackVaultUnlessTold) {  // F4
    World world(6);
    world.model.publish_point();
    world.model.publish_point();
    CatalogOptions options;
    options.witness = {world.rig.state.newest.number, world.rig.state.hash};
    EXPECT_TRUE(Catalog::open(*world.store, *world.kek, world.machine, options));
    world.memory.erase(vault::manifest_blob(world.machine, options.witness.number));
    const auto refused = Catalog::open(*world.store, *world.kek, world.machine, options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::vault_rolled_back);
    options.accept_stale = true;
    const auto stale = Catalog::open(*world.store, *world.kek, world.machine, options);
    ASSERT_TRUE(stale);
    EXPECT_EQ(stale->points().size(), 1U);
}

TEST(Catalog, F4_OfAVaultThatHasForgottenTheMachineAWitnessKnowsBetter) {
    World world(7);
    world.model.publish_point();
    CatalogOptions options;
    options.witness = {world.rig.state.newest.number, world.rig.state.hash};
    for (const blob::BlobName& name : world.memory.names()) {
        if (name != vault::vault_keys_blob()) {
            ASSERT_TRUE(world.memory.erase(name));
        }
    }
    EXPECT_EQ(Catalog::open(*world.store, *world.kek, world.machine, options).error().code,
              Errc::vault_rolled_back);
    // Whoever has never heard of it is told what there is.
    EXPECT_EQ(Catalog::open(*world.store, *world.kek, world.machine, {}).error().code,
              Errc::not_found);
}

TEST(Catalog, AMachineWhoseKeysAreGoneIsNotAnUnknownOne) {
    World world(8);
    world.model.publish_point();
    ASSERT_TRUE(world.memory.erase(vault::machine_keys_blob(world.machine)));
    EXPECT_EQ(Catalog::open(*world.store, *world.kek, world.machine, {}).error().code,
              Errc::key_unavailable);
}

// As a secondary region is when the first one fails: without some of the newest objects, and in no
// order. What can be had is whole, what cannot is named, and that something is lost is said.
TEST(Catalog, D20_OfAVaultThatIsBehindEveryPointIsWholeOrNamesWhatIsMissing) {
    int stale = 0, whole = 0, broken = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        World world(seed);
        const auto points = [&world] { return world.model.truth().size(); };
        for (int i = 0; i < 200 && points() < 6; ++i) {
            world.model.step();
        }
        world.model.publish_point();
        std::set<PointId> old;
        for (const auto& [id, truth] : world.model.truth()) {
            old.insert(id);
        }
        const auto before = world.memory.names();
        for (int i = 0; i < 200 && points() < old.size() + 4; ++i) {
            world.model.step();
        }
        world.model.publish_point();
        for (const blob::BlobName& name : world.memory.names()) {
            const bool arrived = std::ranges::find(before, name) != before.end();
            if (!arrived && world.random->below(3) == 0) {
                world.memory.erase(name);
            }
        }
        CatalogOptions options;
        options.witness = {world.rig.state.newest.number, world.rig.state.hash};
        auto catalog = Catalog::open(*world.store, *world.kek, world.machine, options);
        if (!catalog) {
            EXPECT_TRUE(catalog.error().code == Errc::vault_rolled_back ||
                        catalog.error().code == Errc::blob_not_found)
                << to_string(catalog.error());
            options.accept_stale = true;
            catalog = Catalog::open(*world.store, *world.kek, world.machine, options);
            ASSERT_TRUE(catalog) << to_string(catalog.error());
            EXPECT_TRUE(catalog->lost().has_value());
            ++stale;
        }
        for (const auto* point : catalog->points()) {
            ByteVector seen(world.model.truth().at(point->id).size());
            const auto reader = world.reader(*catalog, point->id);
            const Result<void> read =
                reader ? (*reader)->read(0, seen) : Result<void>(std::unexpected(reader.error()));
            if (read) {
                EXPECT_EQ(seen, world.model.truth().at(point->id));
                ++whole;
            } else {
                EXPECT_EQ(read.error().code, Errc::blob_not_found) << to_string(read.error());
                EXPECT_NE(read.error().detail.find("data/"), std::string::npos);
                EXPECT_FALSE(old.contains(point->id));  // All of it had arrived.
                ++broken;
            }
        }
    }
    EXPECT_GT(stale, 3);
    EXPECT_GT(whole, 20);
    EXPECT_GT(broken, 3);
}

TEST(TimeText, ComesBack) {
    for (const std::int64_t us :
         {0LL, 1'700'000'000'123'456LL, 951'782'399'000'000LL, -1'000'000LL}) {
        EXPECT_EQ(parse_time(time_text(WallMicros{us})).value(), WallMicros{us});
    }
    EXPECT_EQ(time_text(WallMicros{1'700'000'000'000'000}), "2023-11-14T22:13:20Z");
    for (const char* bad :
         {"", "2023", "2023-13-01T00:00Z", "2023-02-30T00:00Z", "2023-01-01T24:00Z",
          "2023-01-01T00:00", "2023-01-01T00:00:00+01:00", "-023-01-01T00:00Z"}) {
        EXPECT_FALSE(parse_time(bad)) << bad;
    }
    EXPECT_EQ(parse_time("2023-11-14T22:13Z").value(), WallMicros{1'699'999'980'000'000});
}

}  // namespace
}  // namespace cw::recovery
