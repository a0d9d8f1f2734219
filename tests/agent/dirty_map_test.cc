#include "agent/stream/dirty_map.h"

#include "base/random.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::agent {
namespace {

class DirtyMapTest : public testing::Test {
protected:
    DirtyMapTest()
        : path_(testing::TempDir() + "cw_map_" + std::to_string(::getpid())),
          disk_(make_posix_disk()) {}
    ~DirtyMapTest() override { std::filesystem::remove(path_); }
    // A map of a disk that is all committed.
    DirtyMap clean() {
        auto map = DirtyMap::create(*disk_, target_).value();
        map.begin_fence(true);
        map.end_fence(Seq{1});
        EXPECT_TRUE(map.committed(Seq{1}));
        return map;
    }
    const std::string path_;
    std::unique_ptr<Disk> disk_;
    const DirtyMap::Target target_{path_, DiskId{{std::byte{1}}}, 200 * mib + 512};
};

TEST_F(DirtyMapTest, NewMapHasEveryBlockAndNotOneMore) {
    auto map = DirtyMap::create(*disk_, target_).value();
    EXPECT_EQ(map.uncommitted().bytes(), 200 * mib + map_block_bytes);
    auto again = DirtyMap::open(*disk_, target_).value();
    EXPECT_EQ(again.uncommitted().words(), map.uncommitted().words());
}

TEST_F(DirtyMapTest, AnIntervalIsDroppedOnlyWhenCommittedReachesIt) {
    DirtyMap map = clean();
    ASSERT_TRUE(map.mark(0, 512));
    map.close_interval(Seq{10});
    ASSERT_TRUE(map.mark(map_block_bytes, 512));
    map.close_interval(Seq{20});
    ASSERT_TRUE(map.committed(Seq{9}));
    EXPECT_EQ(map.uncommitted().bytes(), 2 * map_block_bytes);
    ASSERT_TRUE(map.committed(Seq{10}));
    EXPECT_TRUE(!map.uncommitted().test(0) && map.uncommitted().test(1));
    ASSERT_TRUE(map.committed(Seq{20}));
    EXPECT_TRUE(map.uncommitted().empty());
}

TEST_F(DirtyMapTest, ABlockWrittenAgainStaysUntilItsNewestWriteIsCommitted) {
    DirtyMap map = clean();
    ASSERT_TRUE(map.mark(0, 512));
    map.close_interval(Seq{10});
    ASSERT_TRUE(map.mark(0, 512));
    ASSERT_TRUE(map.committed(Seq{10}));
    EXPECT_TRUE(map.uncommitted().test(0));
    EXPECT_TRUE(DirtyMap::open(*disk_, target_).value().uncommitted().test(0));
}

TEST_F(DirtyMapTest, FenceBlocksStayDirtyUntilTheFencesEndIsCommitted) {
    DirtyMap map = clean();
    ASSERT_TRUE(map.mark_missed(5 * mib, mib));
    EXPECT_EQ(map.begin_fence(false).bytes(), mib);
    map.close_interval(Seq{50});
    ASSERT_TRUE(map.committed(Seq{50}));
    EXPECT_EQ(map.uncommitted().bytes(), mib);
    map.end_fence(Seq{60});
    ASSERT_TRUE(map.committed(Seq{59}));
    EXPECT_EQ(map.uncommitted().bytes(), mib);
    ASSERT_TRUE(map.committed(Seq{60}));
    EXPECT_TRUE(map.uncommitted().empty());
}

TEST_F(DirtyMapTest, WhatWasMarkedIsFoundAfterAKillAtAnyMoment) {
    const auto dice = make_seeded_random(3);
    BlockSet model;
    DirtyMap map = clean();
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t at = dice->below(200 * mib / 512) * 512,
                            length = 512 + dice->below(8) * mib;
        const std::uint64_t cut = std::min(length, target_.size_bytes - at);
        ASSERT_TRUE(dice->below(2) == 0 ? map.mark(at, cut) : map.mark_missed(at, cut));
        model.add_range(at, cut);
        if (i % 30 == 0) {
            EXPECT_EQ(DirtyMap::open(*disk_, target_).value().uncommitted().words(), model.words());
        }
    }
}

TEST_F(DirtyMapTest, ManyIntervalsAreMergedAndNeverForgotten) {
    DirtyMap map = clean();
    for (std::uint64_t i = 1; i <= 500; ++i) {
        ASSERT_TRUE(map.mark(i * map_block_bytes, 512));
        map.close_interval(Seq{i});
    }
    ASSERT_TRUE(map.committed(Seq{499}));
    EXPECT_TRUE(map.uncommitted().test(500));
    ASSERT_TRUE(map.committed(Seq{500}));
    EXPECT_TRUE(map.uncommitted().empty());
}

TEST_F(DirtyMapTest, DamageAndForeignMapsAreRefused) {
    clean();
    for (const std::uint64_t at : {20UL, 4096UL, 4096UL + 777}) {
        clean();
        std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file.put('\x7f');
        file.close();
        const auto opened = DirtyMap::open(*disk_, target_);
        ASSERT_FALSE(opened.has_value()) << at;
        EXPECT_EQ(opened.error().code, Errc::record_corrupt);
    }
    clean();
    DirtyMap::Target other = target_;
    other.size_bytes += 512;
    EXPECT_FALSE(DirtyMap::open(*disk_, other).has_value());
    other = target_;
    other.disk = DiskId{{std::byte{2}}};
    EXPECT_FALSE(DirtyMap::open(*disk_, other).has_value());
}

}  // namespace
}  // namespace cw::agent
