#include "recovery/image_reader.h"

#include "tests/recovery/world.h"

#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;
// The first byte that differs, for a message; npos if none.
std::size_t first_difference(const ByteVector& a, const ByteVector& b) {
    const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first;
    return at == a.end() ? std::string::npos : static_cast<std::size_t>(at - a.begin());
}

TEST(ImageReader, EveryPointOfEveryHistoryIsTheDiskAsItWas) {  // G3
    std::uint64_t first = 1, count = 25;
    if (const char* seed = std::getenv("CAUSEWAY_SEED")) {
        first = std::strtoull(seed, nullptr, 10);
        count = 1;
    }
    std::uint64_t points = 0, fences = 0, generations = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        SCOPED_TRACE("CAUSEWAY_SEED=" + std::to_string(seed));
        World world(seed);
        for (int i = 0; i < 40; ++i) {
            world.model.step();
        }
        world.model.publish_point();
        const Catalog catalog = world.catalog();
        ASSERT_EQ(catalog.points().size(), world.model.truth().size());
        for (const auto& [id, truth] : world.model.truth()) {
            const auto reader = world.reader(catalog, id);
            ASSERT_TRUE(reader) << to_string(reader.error());
            ASSERT_EQ((*reader)->size_bytes(), truth.size());
            ByteVector seen(truth.size(), std::byte{0x5a});
            const auto read = (*reader)->read(0, seen);
            ASSERT_TRUE(read) << to_string(read.error());
            ASSERT_EQ(first_difference(seen, truth), std::string::npos)
                << "point " << to_string(id);
            ++points;
        }
        fences += world.model.fences();
        generations += world.model.generations();
    }
    if (count > 1) {  // The histories held what they are meant to hold.
        EXPECT_GT(points, 10 * count / 2);
        EXPECT_GT(fences, count);
        EXPECT_GT(generations, count + count / 2);
    }
}

TEST(ImageReader, AnyRangeReadsAlike) {
    World world(77);
    for (int i = 0; i < 60; ++i) {
        world.model.step();
    }
    const PointId point = world.model.publish_point();
    const ByteVector& truth = world.model.truth().at(point);
    const Catalog catalog = world.catalog();
    const auto reader = world.reader(catalog, point);
    ASSERT_TRUE(reader);
    for (int i = 0; i < 300; ++i) {  // Ranges need not be sectors.
        const std::uint64_t offset = world.random->below(truth.size());
        const std::uint64_t length =
            1 + world.random->below(std::min<std::uint64_t>(truth.size() - offset, 100'000));
        ByteVector seen(length, std::byte{0x5a});
        ASSERT_TRUE((*reader)->read(offset, seen));
        ASSERT_TRUE(std::equal(seen.begin(), seen.end(),
                               truth.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
    ByteVector none;
    EXPECT_TRUE((*reader)->read(truth.size(), none));
}

TEST(ImageReader, ReadsOverlap) {
    World world(5);
    world.model.step();
    const PointId point = world.model.publish_point();
    const ByteVector& truth = world.model.truth().at(point);
    const Catalog catalog = world.catalog();
    const auto reader = world.reader(catalog, point);
    ASSERT_TRUE(reader);
    std::vector<ByteVector> parts(16, ByteVector(64 * kib));
    std::size_t done = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        (*reader)->start(i * 64 * kib, parts[i], [&done](Result<void> result) {
            EXPECT_TRUE(result);
            ++done;
        });
    }
    EXPECT_EQ(done, 0U);  // Never inside the call.
    for (int i = 0; i < 10'000 && done < parts.size(); ++i) {
        (*reader)->wait(0);
        (*reader)->poll();
    }
    ASSERT_EQ(done, parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
        EXPECT_TRUE(std::equal(parts[i].begin(), parts[i].end(),
                               truth.begin() + static_cast<std::ptrdiff_t>(i * 64 * kib)));
    }
}

TEST(ImageReader, NeverGivesDamagedData) {  // G5
    World world(21);
    for (int i = 0; i < 60; ++i) {
        world.model.step();
    }
    world.model.publish_point();
    std::vector<blob::BlobName> segments;
    for (const auto& name : world.memory.names()) {
        if (name.container == blob::Container::data) {
            segments.push_back(name);
        }
    }
    ASSERT_GT(segments.size(), 2U);
    const Catalog catalog = world.catalog();
    std::uint64_t refused = 0;
    for (int i = 0; i < 300; ++i) {
        const auto& victim = segments[world.random->below(segments.size())];
        const auto& other = segments[world.random->below(segments.size())];
        const bool swap = i % 3 == 0 && other != victim;
        const std::uint64_t bit = world.random->below(world.memory.bytes(victim)->size() * 8);
        swap ? world.memory.swap(victim, other) : world.memory.flip_bit(victim, bit);
        const auto truth =
            std::next(world.model.truth().begin(),
                      static_cast<std::ptrdiff_t>(world.random->below(world.model.truth().size())));
        const auto reader = world.reader(catalog, truth->first);
        ByteVector seen(truth->second.size());
        const Result<void> read =
            reader ? (*reader)->read(0, seen) : Result<void>(std::unexpected(reader.error()));
        if (read) {
            EXPECT_EQ(seen, truth->second);  // The damage was not in this point's way.
        } else {
            ++refused;
            EXPECT_EQ(read.error().code, Errc::object_corrupt) << to_string(read.error());
            EXPECT_NE(read.error().detail.find("data/"), std::string::npos);
            EXPECT_NE(read.error().detail.find("needed by"), std::string::npos);
        }
        swap ? world.memory.swap(victim, other) : world.memory.flip_bit(victim, bit);
    }
    EXPECT_GT(refused, 50U);
}

TEST(ImageReader, NamesWhatIsMissing) {
    World world(8);
    const PointId point = world.model.publish_point();
    world.model.step();
    const Catalog catalog = world.catalog();
    for (const auto& name : world.memory.names()) {
        if (name.container == blob::Container::data) {
            world.memory.erase(name);
            const auto reader = world.reader(catalog, point);
            if (!reader) {
                EXPECT_EQ(reader.error().code, Errc::blob_not_found);
                EXPECT_NE(reader.error().detail.find(to_string(name)), std::string::npos);
                return;
            }
        }
    }
}

TEST(ImageReader, RidesOverABusyStoreAndThenSaysUnavailable) {
    World world(31);
    for (int i = 0; i < 20; ++i) {
        world.model.step();
    }
    const PointId point = world.model.publish_point();
    const ByteVector& truth = world.model.truth().at(point);
    const Catalog catalog = world.catalog();
    world.memory.script(BlobOp::get, BlobFault::throttled, 3);
    auto reader = world.reader(catalog, point);
    ASSERT_TRUE(reader) << to_string(reader.error());
    world.memory.script(BlobOp::get, BlobFault::unavailable, 3);
    ByteVector seen(truth.size());
    ASSERT_TRUE((*reader)->read(0, seen));
    EXPECT_EQ(seen, truth);
    world.memory.script(BlobOp::get, BlobFault::unavailable, 10'000);
    EXPECT_EQ((*reader)->read(0, seen).error().code, Errc::blob_unavailable);
}

TEST(ImageReader, KeepsItsMemoryBudget) {
    World world(4);
    for (int i = 0; i < 20; ++i) {
        world.model.step();
    }
    world.model.publish_point();
    const Catalog catalog = world.catalog();
    const auto point = catalog.find_point("latest");
    const auto disk = catalog.find_disk(**point, "vda");
    ASSERT_TRUE(disk);
    const auto reader = ImageReader::open(*world.store, catalog, *disk, {4, 100});
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().code, Errc::out_of_budget);
}

}  // namespace
}  // namespace cw::recovery
