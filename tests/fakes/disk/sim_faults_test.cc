// What a device may do to one read, one write or one name, each by itself.
#include "tests/fakes/sim_disk.h"

#include <algorithm>
#include <bit>

#include <gtest/gtest.h>

namespace cw::fakes {
namespace {

constexpr std::uint32_t always = 10'000;
constexpr std::size_t blocks = 16;

class SimDiskFaults : public testing::Test {
protected:
    // Of `blocks` blocks, all of them 1.
    void make(const FaultPlan& plan = {}) {
        storage_ = std::make_unique<SimStorage>(7, plan);
        disk_ = storage_->make_disk();
        ASSERT_TRUE(disk_->create_directories("/d"));
        file_ = disk_->open("/d/f", {.write = true, .create = true}).value();
        ASSERT_TRUE(disk_->sync_directory("/d"));
        for (std::size_t i = 0; i < blocks; ++i) {
            ASSERT_TRUE(write(i, 1));
        }
    }
    Result<void> write(std::size_t block, unsigned fill, bool durable = true) {
        const ByteVector bytes(block_bytes, std::byte(fill));
        return write_at(*disk_, *file_, block * block_bytes, bytes, durable);
    }
    ByteVector platter(std::size_t block) {
        return storage_->contents("/d/f", block * block_bytes, block_bytes);
    }
    static ByteVector filled(unsigned fill) { return ByteVector(block_bytes, std::byte(fill)); }

    std::unique_ptr<SimStorage> storage_;
    std::unique_ptr<SimDisk> disk_;
    std::unique_ptr<File> file_;
};

TEST_F(SimDiskFaults, AWeakReadFailsOnceOrTwiceAndThenGivesWhatIsThere) {
    make();
    storage_->plan().read_weak = always;
    ByteVector out(block_bytes);
    unsigned refused = 0;
    while (!read_at(*disk_, *file_, 3 * block_bytes, out)) {
        ASSERT_LE(++refused, 2U);
    }
    EXPECT_GE(refused, 1U);
    EXPECT_EQ(out, filled(1));
    EXPECT_EQ(storage_->counts().read_weak, 1U);
}

TEST_F(SimDiskFaults, ALostWriteLeavesWhatLayThereBefore) {
    FaultPlan plan;
    plan.earlier_kept = true;
    make(plan);
    ASSERT_TRUE(write(3, 2));
    ASSERT_TRUE(write(3, 2));  // The same again is no change.
    storage_->lose_write("/d/f", 3 * block_bytes, block_bytes);
    EXPECT_EQ(platter(3), filled(1));
    storage_->lose_write("/d/f", 4 * block_bytes, block_bytes);
    EXPECT_EQ(platter(4), filled(0)) << "it was never written";
    EXPECT_EQ(platter(5), filled(1));
    storage_->power_cut();
    EXPECT_EQ(platter(3), filled(1));
}

TEST_F(SimDiskFaults, AWriteThatIsLostOnItsWayIsTold) {
    make();
    storage_->plan().write_lost = always;
    ASSERT_TRUE(write(3, 2));
    EXPECT_EQ(platter(3), filled(1));
    const auto astray = storage_->take_astray();
    ASSERT_EQ(astray.size(), 1U);
    EXPECT_EQ(astray[0].path, "/d/f");
    EXPECT_EQ(astray[0].offset, 3 * block_bytes);
    EXPECT_EQ(astray[0].head, filled(2));
    EXPECT_TRUE(astray[0].hit.empty());
    EXPECT_TRUE(storage_->take_astray().empty()) << "told twice";
}

TEST_F(SimDiskFaults, AWriteThatLandsElsewhereIsToldWithWhatItHit) {
    make();
    storage_->plan().write_misdirected = always;
    for (unsigned fill = 2; fill < 10; ++fill) {
        const ByteVector before = storage_->contents("/d/f");
        ASSERT_TRUE(write(3, fill));
        const auto astray = storage_->take_astray();
        ASSERT_EQ(astray.size(), 1U);
        EXPECT_EQ(astray[0].offset, 3 * block_bytes);
        EXPECT_EQ(platter(astray[0].landed / block_bytes), filled(fill));
        const Bytes hit = Bytes(before).subspan(astray[0].landed, block_bytes);
        EXPECT_TRUE(std::ranges::equal(astray[0].hit, hit));
    }
}

TEST_F(SimDiskFaults, AWriteOfWhichABitFlipsIsTold) {
    make();
    storage_->plan().write_flipped = always;
    ASSERT_TRUE(write(3, 2));
    const ByteVector landed = platter(3);
    int bits = 0;
    for (const std::byte b : landed) {
        bits += std::popcount(static_cast<unsigned>(b ^ std::byte{2}));
    }
    EXPECT_EQ(bits, 1);
    ASSERT_EQ(storage_->take_astray().size(), 1U);
}

TEST_F(SimDiskFaults, WhatIsNotSyncedIsNotDurable) {
    make();
    const auto buffered = disk_->open("/d/f", {.write = true}).value();
    ASSERT_TRUE(write_at(*disk_, *buffered, 3 * block_bytes, filled(2), false));
    EXPECT_EQ(platter(3), filled(2));
    EXPECT_EQ(storage_->durable_contents("/d/f", 3 * block_bytes, block_bytes), filled(1));
    ASSERT_TRUE(sync_file(*disk_, *buffered));
    EXPECT_EQ(storage_->durable_contents("/d/f", 3 * block_bytes, block_bytes), filled(2));
}

TEST_F(SimDiskFaults, NamesThatAreRefusedAreCounted) {
    make();
    storage_->plan().metadata_error = always;
    EXPECT_FALSE(disk_->rename("/d/f", "/d/g"));
    EXPECT_FALSE(disk_->open("/d/f", {}));
    EXPECT_EQ(storage_->counts().metadata_error, 2U);
    storage_->plan().metadata_error = 0;
    EXPECT_TRUE(storage_->exists("/d/f"));
}

}  // namespace
}  // namespace cw::fakes
