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
          part_(directory_ + "/part.img"),
          tools_(directory_ + ".tools"),
          path_(::getenv("PATH")) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
        fs::create_directories(tools_);
        // People often have the places of administrators' programs not on their path.
        ::setenv("PATH", (tools_ + ":/usr/bin:/bin").c_str(), 1);
    }
    ~FileSystemCheck() override {
        ::setenv("PATH", path_.c_str(), 1);
        fs::remove_all(directory_);
        fs::remove_all(tools_);
    }

    bool run(const std::string& command) {
        return std::system(("PATH=/usr/sbin:/usr/bin:/sbin:/bin; " + command + " >>" + directory_ +
                            "/out 2>&1")
                               .c_str()) == 0;
    }
    // A disk of these partitions, as sfdisk has them, with the file of the fixture in the first.
    std::vector<FileSystemFinding> findings_of(const std::string& table) {
        const auto found = checked(table);
        EXPECT_TRUE(found.has_value()) << to_string(found.error());
        EXPECT_TRUE(leaves_nothing());
        return found.value_or(std::vector<FileSystemFinding>(4));
    }
    Result<std::vector<FileSystemFinding>> checked(const std::string& table) {
        fs::resize_file((std::ofstream(image_), image_), fs::file_size(part_) + 8 * mib);
        EXPECT_TRUE(run("printf '" + table + "' | sfdisk -q " + image_));
        EXPECT_TRUE(run("dd if=" + part_ + " of=" + image_ + " bs=1M seek=1 conv=notrunc,sparse"));
        fs::remove(part_);
        fs::remove(directory_ + "/out");
        return check_file_systems(image_, clock_);
    }
    void make_part(std::uint64_t bytes, const std::string& command) {
        fs::resize_file((std::ofstream(part_), part_), bytes);
        ASSERT_TRUE(command.empty() || run(command + " " + part_)) << command;
    }
    void put(std::uint64_t offset, const std::string& bytes) {
        std::fstream out(part_, std::ios::in | std::ios::out | std::ios::binary);
        out.seekp(static_cast<std::streamoff>(offset)) << bytes;
        ASSERT_TRUE(out.good());
    }
    std::string printed(const std::string& command) {
        fs::remove(directory_ + "/out");
        EXPECT_TRUE(run(command)) << command;
        std::string text;
        std::getline(std::ifstream(directory_ + "/out"), text);
        return text;
    }
    // As it is of a machine that runs: what says that it was unmounted is taken from the log.
    void make_xfs(bool in_use) {
        make_part(300 * mib, "mkfs.xfs -q");
        fs::copy_file(part_, tools_ + "/unmounted");
        if (in_use) {
            const std::string log = printed("xfs_db -r -c 'sb 0' -c 'print logstart' " + part_);
            const std::string sector =
                printed("xfs_db -r -c 'convert fsblock " + log.substr(log.rfind(' ') + 1) +
                        " daddr' " + part_ + " | cut -d' ' -f2 | tr -d '()'");
            constexpr std::uint64_t sector_bytes = 512, flags_at = 9;
            put((std::stoull(sector) + 1) * sector_bytes + flags_at, std::string(1, '\0'));
        }
    }
    // A guestfish: what its kernel did is as if the machine had been stopped.
    void make_guestfish(const std::string& script) {
        std::ofstream(tools_ + "/guestfish") << "#!/bin/sh\n" << script << "\n";
        fs::permissions(tools_ + "/guestfish", fs::perms::owner_all);
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
    const std::string directory_, image_, part_, tools_, path_;
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
    EXPECT_EQ(found->front().looked, Looked::checked) << found->front().result;
    EXPECT_EQ(found->front().tool, "e2fsck -f -p");
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
    EXPECT_EQ(found.error().detail.find_first_of("\r\n"), std::string::npos);
    EXPECT_TRUE(leaves_nothing());
}

TEST_F(FileSystemCheck, ChecksAFatPartition) {
    make_part(40 * mib, "mkfs.vfat -F 32");
    const auto found = findings_of("start=2048, size=81920, type=ef\\n");
    EXPECT_EQ(found[0].kind, "vfat");
    EXPECT_EQ(found[0].looked, Looked::checked);
    EXPECT_EQ(found[0].tool, "fsck.fat -n");
    EXPECT_EQ(found[0].result, "clean");
}

TEST_F(FileSystemCheck, ForgivesAFatThatItWasInUse) {
    constexpr std::uint64_t state_at = 65, free_count_at = 512 + 488;
    make_part(40 * mib, "mkfs.vfat -F 32");
    put(state_at, "\x01");
    put(free_count_at, "\x01\x02");
    const auto found = findings_of("start=2048, size=81920, type=ef\\n");
    EXPECT_EQ(found[0].looked, Looked::checked);
    EXPECT_EQ(found[0].result, "clean but for what a use without an unmount leaves");
}

TEST_F(FileSystemCheck, RefusesAFatWhoseFilesAreDamaged) {
    make_part(40 * mib, "mkfs.vfat -F 32");
    constexpr std::uint64_t fat_at = 32 * 512, root_at = fat_at + 2 * 4;
    put(root_at, "\xff\xee\xdd\x01");
    const auto found = checked("start=2048, size=81920, type=ef\\n");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, Errc::drill_failed);
    EXPECT_TRUE(found.error().detail.starts_with("partition 1: vfat: fsck.fat -n says"))
        << found.error().detail;
    EXPECT_TRUE(leaves_nothing());
}

TEST_F(FileSystemCheck, ChecksAnXfsPartition) {
    make_xfs(false);
    const auto found = findings_of("start=2048, size=614400, type=83\\n");
    EXPECT_EQ(found[0].kind, "xfs");
    EXPECT_EQ(found[0].looked, Looked::checked) << found[0].result;
    EXPECT_EQ(found[0].tool, "xfs_repair -n");
}

TEST_F(FileSystemCheck, RefusesAnXfsThatIsDamaged) {
    make_xfs(false);
    put(512, std::string(100, 'x'));  // Its free space.
    const auto found = checked("start=2048, size=614400, type=83\\n");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, Errc::drill_failed);
}

TEST_F(FileSystemCheck, AnXfsThatWasInUseIsMountedBefore) {
    make_xfs(true);
    make_guestfish("test $5 = run && /bin/cp " + tools_ + "/unmounted $4");
    const auto found = findings_of("start=2048, size=614400, type=83\\n");
    EXPECT_EQ(found[0].looked, Looked::checked) << found[0].result;
    EXPECT_EQ(found[0].result, "clean after its log was replayed");
    EXPECT_EQ(found[0].tool, "guestfish mount, xfs_repair -n");
}

TEST_F(FileSystemCheck, AnXfsThatCannotBeMountedNeedsAPerson) {
    make_xfs(true);
    make_guestfish("echo 'causeway: it runs'; echo wrong >&2; exit 1");
    const auto found = checked("start=2048, size=614400, type=83\\n");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, Errc::drill_failed);
}

TEST_F(FileSystemCheck, WhatCannotMountAnXfsSaysNothingAgainstThePoint) {
    make_xfs(true);
    make_guestfish("echo no kernel >&2; exit 1");
    const auto found = findings_of("start=2048, size=614400, type=83\\n");
    EXPECT_EQ(found[0].looked, Looked::not_checked);
    EXPECT_NE(found[0].result.find("no kernel"), std::string::npos) << found[0].result;
}

TEST_F(FileSystemCheck, AToolThatIsNotThereIsNamedWithItsPackage) {
    make_xfs(true);
    ::setenv("PATH", tools_.c_str(), 1);  // The administrators' programs are found nevertheless.
    const auto found = checked("start=2048, size=614400, type=83\\n");
    ASSERT_TRUE(found.has_value()) << to_string(found.error());
    EXPECT_EQ(found->front().looked, Looked::not_checked);
    EXPECT_NE(found->front().result.find("guestfish is missing (Debian: apt install guestfish"),
              std::string::npos)
        << found->front().result;
}

TEST_F(FileSystemCheck, ChecksABtrfsPartition) {
    make_part(128 * mib, "mkfs.btrfs -q");
    const auto found = findings_of("start=2048, size=262144, type=83\\n");
    EXPECT_EQ(found[0].kind, "btrfs");
    EXPECT_EQ(found[0].looked, Looked::checked) << found[0].result;
    EXPECT_EQ(found[0].tool, "btrfs check --readonly");
}

TEST_F(FileSystemCheck, RefusesABtrfsThatIsDamaged) {
    make_part(128 * mib, "mkfs.btrfs -q");
    constexpr std::uint64_t superblock = 64 * kib, root_tree_at = superblock + 0x50;
    put(root_tree_at, std::string(8, '\x10'));
    const auto found = checked("start=2048, size=262144, type=83\\n");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, Errc::drill_failed);
}

TEST_F(FileSystemCheck, KnowsWhatThereIsNothingToCheckIn) {
    make_part(4 * mib, "mkswap");
    const auto found = findings_of(
        "label: gpt\\nstart=2048, size=8192\\n"
        "start=10240, size=2048, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\\n"
        "start=12288, size=2048, type=21686148-6449-6E6F-744E-656564454649\\n");
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].kind, "swap");
    EXPECT_EQ(found[1].result, "for swap: nothing to check");
    EXPECT_EQ(found[2].result, "a boot loader's code: nothing to check");
    for (const FileSystemFinding& one : found) {
        EXPECT_EQ(one.looked, Looked::nothing) << one.result;
    }
}

// A wiped system disk has its EFI partition still.
TEST_F(FileSystemCheck, ZerosInAPartitionProveNothing) {
    make_part(4 * mib, "mkfs.vfat");
    const auto found = findings_of("start=2048, size=8192, type=ef\\nstart=10240, type=83\\n");
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].looked, Looked::checked) << found[0].result;
    EXPECT_EQ(found[1].looked, Looked::not_checked);
    EXPECT_EQ(found[1].result, "not checked: nothing but zeros where something should be");
}

TEST_F(FileSystemCheck, SaysOfWhatItDoesNotKnowThatItWasNotChecked) {
    make_part(4 * mib, "");
    put(3 * mib, "records of a database");
    const auto found = findings_of("2 : start=2048, size=8192, type=83\\n");
    EXPECT_EQ(found[0].where, "partition 2");
    EXPECT_EQ(found[0].looked, Looked::not_checked);
    EXPECT_EQ(found[0].result, "not checked: no file system known here");
}

TEST_F(FileSystemCheck, SaysOfWhatIsEncryptedThatItWasNotChecked) {
    make_part(4 * mib, "");
    put(0, std::string("LUKS\xba\xbe\0\x01", 8) + std::string(1000, 'x'));
    const auto found = findings_of("start=2048, size=8192, type=83\\n");
    EXPECT_EQ(found[0].kind, "crypto_LUKS");
    EXPECT_EQ(found[0].looked, Looked::not_checked);
    EXPECT_EQ(found[0].result, "not checked: it is encrypted; boot it with --boot");
}

}  // namespace
}  // namespace cw::appliance
