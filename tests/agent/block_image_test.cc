// Which files can be a disk.
#include "agent/scan/block_image.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::agent {
namespace {

class OpenImage : public testing::Test {
protected:
    ~OpenImage() override { std::filesystem::remove(path_); }
    void make(std::uintmax_t bytes) {
        std::ofstream(path_).close();
        std::filesystem::resize_file(path_, bytes);
    }
    Result<std::unique_ptr<BlockImage>> open() { return open_image(path_, ImageAccess::read_only); }

    const std::string path_ =
        testing::TempDir() + "cw_block_image_" + std::to_string(::getpid()) + ".img";
};

TEST_F(OpenImage, TakesAWholeNumberOfSectors) {
    make(3 * 512);
    EXPECT_EQ(open().value()->size(), 3 * 512);
}

TEST_F(OpenImage, RefusesAPartOfASectorAndSaysWhatHelps) {
    make(1000);
    const auto image = open();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, Errc::size_mismatch);
    EXPECT_NE(image.error().detail.find("1000 bytes"), std::string::npos);
    EXPECT_NE(image.error().detail.find("truncate -s %512"), std::string::npos);
}

TEST_F(OpenImage, RefusesAnEmptyFileAndSaysSo) {
    make(0);
    const auto image = open();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, Errc::size_mismatch);
    EXPECT_NE(image.error().detail.find("is empty"), std::string::npos);
}

TEST_F(OpenImage, TellsAMissingFileFromABadOne) {
    const auto image = open();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, Errc::not_found);
}

}  // namespace
}  // namespace cw::agent
