#include "appliance/operator/file_system_check.h"

#include "base/ids.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

namespace fs = std::filesystem;

// A disk with one ext4 partition, as a machine leaves it that loses its power: its journal is to be
// replayed first.
class FileSystemCheck : public testing::Test {
protected:
    FileSystemCheck()
        : directory_(testing::TempDir() + "cw_fscheck_" + std::to_string(::getpid())),
          image_(directory_ + "/disk.img"),
          part_(directory_ + "/part.img") {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
        // Where these programs are, also for whom it is not on the path.
        ::setenv("PATH", (std::string(::getenv("PATH")) + ":/usr/sbin:/sbin").c_str(), 1);
    }
    ~FileSystemCheck() override { fs::remove_all(directory_); }

    bool run(const std::string& command) {
        return std::system((command + " >>" + directory_ + "/out 2>&1").c_str()) == 0;
    }
    void make_disk() {
        fs::resize_file((std::ofstream(part_), part_), 16 * mib);
        fs::resize_file((std::ofstream(image_), image_), 18 * mib);
        ASSERT_TRUE(run("mke2fs -q -t ext4 -F " + part_));
        ASSERT_TRUE(run("debugfs -w -R 'feature needs_recovery' " + part_));
        ASSERT_TRUE(run("echo start=2048, size=32768, type=83 | sfdisk -q " + image_));
    }
    void insert() {
        ASSERT_TRUE(run("dd if=" + part_ + " of=" + image_ + " bs=1M seek=1 conv=notrunc"));
        fs::remove(part_);
        fs::remove(directory_ + "/out");
    }
    // Beside the image itself.
    bool leaves_nothing() {
        return std::distance(fs::directory_iterator(directory_), fs::directory_iterator{}) == 1;
    }
    const std::string directory_, image_, part_;
    ManualClock clock_;
};

TEST_F(FileSystemCheck, ReplaysTheJournalOfAPartition) {
    make_disk();
    insert();
    const auto found = check_file_systems(image_, clock_);
    ASSERT_TRUE(found.has_value()) << to_string(found.error());
    ASSERT_EQ(found->size(), 1U);
    EXPECT_EQ(found->front().where, "partition 1");
    EXPECT_EQ(found->front().kind, "ext4");
    EXPECT_TRUE(found->front().checked) << found->front().result;
    EXPECT_TRUE(leaves_nothing());
}

TEST_F(FileSystemCheck, RefusesAPartitionThatNeedsAPersonAfterTheReplay) {
    make_disk();
    // Inode 2 is the root directory: nothing repairs a file system without one unasked.
    ASSERT_TRUE(run("debugfs -w -R 'clri <2>' " + part_));
    insert();
    const auto found = check_file_systems(image_, clock_);
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, Errc::drill_failed);
    EXPECT_TRUE(leaves_nothing());
}

}  // namespace
}  // namespace cw::appliance
