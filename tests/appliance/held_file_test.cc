// What is held is known from what was left over, and from what only has the same number.
#include "appliance/operator/held_file.h"

#include "appliance/operator/scratch_directory.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

namespace fs = std::filesystem;

class HeldFile : public ::testing::Test {
protected:
    const ScratchDirectory place_ = *ScratchDirectory::make(temporary_directory(), "held-test");
    const std::string path_ = place_.path() + "/lock";
};

TEST_F(HeldFile, IsHeldByOneUntilHeIsGone) {
    {
        const auto first = LockFile::take(path_);
        ASSERT_TRUE(first);
        EXPECT_EQ(LockFile::take(path_).error().code, Errc::in_use);
        EXPECT_TRUE(fs::exists(path_));
    }
    EXPECT_FALSE(fs::exists(path_));
    std::ofstream(path_) << "left by one who was killed";
    EXPECT_TRUE(LockFile::take(path_));
}

TEST_F(HeldFile, IsNeverReachedThroughALink) {
    std::ofstream(place_.path() + "/theirs") << "kept";
    fs::create_symlink(place_.path() + "/theirs", path_);
    EXPECT_EQ(LockFile::take(path_).error().code, Errc::io_error);
    EXPECT_TRUE(fs::exists(place_.path() + "/theirs"));
}

TEST_F(HeldFile, WhatWasPutInItsPlaceIsLeftAlone) {
    {
        const auto held = LockFile::take(path_);
        ASSERT_TRUE(held);
        fs::rename(path_, path_ + ".old");
        std::ofstream(path_) << "another one";
        EXPECT_FALSE(leads_to(path_, held->fd()));
    }
    EXPECT_TRUE(fs::exists(path_));
}

TEST_F(HeldFile, IsNotAnotherOneOfTheSameNumberElsewhere) {
    struct stat here{}, there{};
    ASSERT_EQ(::stat("/proc", &here), 0);
    ASSERT_EQ(::stat("/sys", &there), 0);
    if (here.st_ino != there.st_ino || here.st_dev == there.st_dev) {
        GTEST_SKIP() << "no two directories with one number";
    }
    const Fd held(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_TRUE(leads_to("/proc", held.get()));
    EXPECT_FALSE(leads_to("/sys", held.get()));
}

}  // namespace
}  // namespace cw::appliance
