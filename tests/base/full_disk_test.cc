#include "base/full_disk.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace cw {
namespace {

Error full(std::string advice = {}) {
    return {Errc::disk_full, "write: No space left on device", std::move(advice)};
}

TEST(FullDisk, IsNamedWithItsPlaceAndACommandThatCanBeCopied) {
    const Error error = name_full_disk(full(), "/made/up", "the test");
    EXPECT_EQ(error.detail,
              "that of /made/up, where the test writes (write: No space left on device)");
    EXPECT_EQ(error.next, "df -h /made/up; " + std::string(next_of(Errc::disk_full)));
    EXPECT_EQ(name_full_file(full(), "/made/up/a.json").detail,
              "that of /made/up, where a.json is written (write: No space left on device)");
}

TEST(FullDisk, IsNamedOnceByWhoIsNearest) {
    const Error once = name_full_disk(full(), "/made/up", "the test");
    EXPECT_EQ(name_full_file(once, "/elsewhere/a").detail, once.detail);
    EXPECT_EQ(name_full_file(once, "/elsewhere/a").next, once.next);
}

TEST(FullDisk, IsNamedBesideOtherAdvice) {
    const Error error = name_full_disk(full("mount it again"), "/made/up", "the test");
    EXPECT_TRUE(error.detail.starts_with("that of /made/up, ")) << error.detail;
    EXPECT_EQ(error.next, "df -h /made/up; mount it again");
}

TEST(FullDisk, IsLookedForWhereAWorkDirectoryWas) {
    const std::string there = std::filesystem::canonical(testing::TempDir()).string();
    const std::string mount = mount_of(there);
    EXPECT_TRUE(there.starts_with(mount)) << mount;
    EXPECT_EQ(mount_of(there + "/gone/with/all"), mount);
    EXPECT_EQ(name_full_disk(full(), there + "/gone", "the test").next,
              "df -h " + mount + "; " + std::string(next_of(Errc::disk_full)));
}

TEST(FullDisk, OfARelativePathIsAbsolute) {
    const std::string here = std::filesystem::current_path().string();
    EXPECT_TRUE(name_full_file(full(), "a").detail.starts_with("that of " + here + ", where a is"));
    EXPECT_TRUE(
        name_full_disk(full(), "b", "the test").detail.starts_with("that of " + here + "/b,"));
    EXPECT_EQ(mount_of("."), mount_of(here));
}

TEST(FullDisk, IsNotSaidOfOtherErrors) {
    const Error error = name_full_disk({Errc::io_error, "x"}, "/made/up", "the test");
    EXPECT_EQ(error.detail, "x");
    EXPECT_EQ(error.next, "");
}

}  // namespace
}  // namespace cw
