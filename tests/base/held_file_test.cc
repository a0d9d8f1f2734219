// What is held is known from what was left over, and from what only has the same number.
#include "base/held_file.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw {
namespace {

namespace fs = std::filesystem;

class HeldFile : public ::testing::Test {
protected:
    HeldFile() { fs::create_directory(place_); }
    ~HeldFile() override { fs::remove_all(place_); }

    const std::string place_ = testing::TempDir() + "held_file_test." + std::to_string(::getpid());
    const std::string path_ = place_ + "/lock";
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

TEST_F(HeldFile, IsNotFoundInADirectoryThatIsNotThere) {
    EXPECT_EQ(LockFile::take(place_ + "/none/lock").error().code, Errc::not_found);
}

TEST_F(HeldFile, IsNeverReachedThroughALink) {
    std::ofstream(place_ + "/theirs") << "kept";
    fs::create_symlink(place_ + "/theirs", path_);
    EXPECT_EQ(LockFile::take(path_).error().code, Errc::io_error);
    EXPECT_TRUE(fs::exists(place_ + "/theirs"));
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
}  // namespace cw
