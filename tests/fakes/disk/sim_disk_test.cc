// What a power cut leaves of names: both is possible until the directory was synced, and only one
// afterwards.
#include "tests/fakes/sim_disk.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::fakes {
namespace {

constexpr std::uint64_t seeds = 64;  // Enough for both to happen.

// How often `path` is there after a power cut that follows `change`.
template <typename Change>
std::uint64_t kept(const std::string& path, Change change) {
    std::uint64_t there = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        SimStorage storage(seed);
        const auto disk = storage.make_disk();
        EXPECT_TRUE(disk->create_directories("/d"));
        EXPECT_TRUE(disk->open("/d/old", {.write = true, .create = true}));
        EXPECT_TRUE(disk->sync_directory("/d"));
        change(*disk);
        storage.power_cut();
        const auto after = storage.make_disk();
        there += after->exists(path).value() ? 1 : 0;
    }
    return there;
}

void expect_either(std::uint64_t there) {
    EXPECT_GT(there, 0U);
    EXPECT_LT(there, seeds);
}

void create(SimDisk& disk) {
    ASSERT_TRUE(disk.open("/d/new", {.write = true, .create = true}));
}
void rename(SimDisk& disk) {
    ASSERT_TRUE(disk.rename("/d/old", "/d/new"));
}
void remove(SimDisk& disk) {
    ASSERT_TRUE(disk.remove("/d/old"));
}
template <void (*change)(SimDisk&)>
void synced(SimDisk& disk) {
    change(disk);
    ASSERT_TRUE(disk.sync_directory("/d"));
}

TEST(SimDiskNames, AnEntryThatWasNotSyncedIsThereOrNotAfterAPowerCut) {
    expect_either(kept("/d/new", create));
    expect_either(kept("/d/new", rename));
    expect_either(kept("/d/old", rename));
    expect_either(kept("/d/old", remove));
}

TEST(SimDiskNames, AnEntryThatWasSyncedIsAsItWasMade) {
    EXPECT_EQ(kept("/d/new", synced<create>), seeds);
    EXPECT_EQ(kept("/d/new", synced<rename>), seeds);
    EXPECT_EQ(kept("/d/old", synced<rename>), 0U);
    EXPECT_EQ(kept("/d/old", synced<remove>), 0U);
}

TEST(SimDiskNames, ARenameLeavesOneNameOfTheTwo) {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        SimStorage storage(seed);
        {
            const auto disk = storage.make_disk();
            ASSERT_TRUE(disk->create_directories("/d"));
            ASSERT_TRUE(disk->open("/d/old", {.write = true, .create = true}));
            ASSERT_TRUE(disk->sync_directory("/d"));
            rename(*disk);
            storage.power_cut();
        }
        EXPECT_NE(storage.exists("/d/old"), storage.exists("/d/new")) << seed;
    }
}

TEST(SimDiskNames, SyncingAnotherDirectoryHelpsNothing) {
    expect_either(kept("/d/new", [](SimDisk& disk) {
        create(disk);
        ASSERT_TRUE(disk.create_directories("/e"));
        ASSERT_TRUE(disk.sync_directory("/e"));
    }));
}

// Only the power takes names: a process that dies leaves them to the kernel.
TEST(SimDiskNames, AKillLeavesEveryName) {
    SimStorage storage(1);
    {
        const auto disk = storage.make_disk();
        ASSERT_TRUE(disk->create_directories("/d"));
        create(*disk);
        storage.kill();
    }
    EXPECT_TRUE(storage.exists("/d/new"));
}

// One block of `fill` at a time, durable. How many were confirmed.
std::size_t write_blocks(SimDisk& disk, std::byte fill, std::size_t count) {
    const auto file = disk.open("/d/old", {.write = true}).value();
    std::size_t confirmed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const ByteVector block(block_bytes, fill);
        confirmed += write_at(disk, *file, i * block_bytes, block, true) ? 1 : 0;
    }
    return confirmed;
}

TEST(SimDiskStrike, WhatWasConfirmedBeforeItIsThereAndTheRestIsInDoubt) {
    bool torn = false, whole = false, nothing = false;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        SimStorage storage(seed);
        {
            const auto disk = storage.make_disk();
            ASSERT_TRUE(disk->create_directories("/d"));
            ASSERT_TRUE(disk->open("/d/old", {.write = true, .create = true}));
            ASSERT_TRUE(disk->sync_directory("/d"));
            ASSERT_EQ(write_blocks(*disk, std::byte{1}, 4), 4U);
            storage.strike_at(3);
            EXPECT_EQ(write_blocks(*disk, std::byte{2}, 4), 2U);
            ASSERT_TRUE(storage.struck());
            EXPECT_FALSE(disk->rename("/d/old", "/d/new"));
            storage.power_cut();
        }
        EXPECT_FALSE(storage.struck());
        const ByteVector after = storage.contents("/d/old");
        for (std::size_t i = 0; i < 2 * block_bytes; ++i) {
            ASSERT_EQ(after[i], std::byte{2}) << seed;
        }
        const auto landed = std::count(after.begin() + 2 * block_bytes,
                                       after.begin() + 3 * block_bytes, std::byte{2});
        nothing |= landed == 0;
        whole |= landed == block_bytes;
        torn |= landed > 0 && landed < static_cast<std::ptrdiff_t>(block_bytes);
        for (std::size_t i = 3 * block_bytes; i < 4 * block_bytes; ++i) {
            ASSERT_EQ(after[i], std::byte{1}) << seed << ": it began after the blow";
        }
    }
    EXPECT_TRUE(torn && whole && nothing);
}

// Who does not block is simply never answered.
TEST(SimDiskStrike, WhatIsOnItsWayIsNotConfirmedAnyMore) {
    SimStorage storage(1);
    const auto disk = storage.make_disk();
    ASSERT_TRUE(disk->create_directories("/d"));
    const auto file = disk->open("/d/f", {.write = true, .create = true}).value();
    ByteVector block(block_bytes);
    const iovec part{block.data(), block.size()};
    DiskRequest request{.op = DiskOp::write, .durable = true, .file = file.get()};
    request.parts = &part;
    request.part_count = 1;
    request.done = [](DiskRequest&) { FAIL(); };
    storage.strike_at(1);
    disk->start(request);
    EXPECT_TRUE(storage.at_work());
    for (int i = 0; i < 16; ++i) {
        EXPECT_EQ(disk->poll(), 0U);
    }
    storage.kill();
}

}  // namespace
}  // namespace cw::fakes
