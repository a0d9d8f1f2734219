// What a power cut leaves of names: both is possible until the directory was synced, and only one
// afterwards.
#include "tests/fakes/sim_disk.h"

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

}  // namespace
}  // namespace cw::fakes
