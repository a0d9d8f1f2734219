#include "recovery/vhd.h"

#include "recovery/image_writer.h"
#include "tests/recovery/world.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

TEST(Vhd, GeometryIsThatOfTheSpecification) {
    EXPECT_EQ(vhd_geometry(20 * mib), (VhdGeometry{602, 4, 17}));
    EXPECT_EQ(vhd_geometry(1 * gib), (VhdGeometry{2080, 16, 63}));
    EXPECT_EQ(vhd_geometry(127 * gib), (VhdGeometry{65278, 16, 255}));
    EXPECT_EQ(vhd_geometry(128 * gib), (VhdGeometry{65535, 16, 255}));
    EXPECT_EQ(vhd_geometry(32 * 1024 * gib), (VhdGeometry{65535, 16, 255}));
}

TEST(Vhd, FooterIsByteForByteWhatOthersWrite) {
    std::array<std::byte, 16> id;
    for (std::size_t i = 0; i < id.size(); ++i) {
        id[i] = static_cast<std::byte>(i * 0x11);
    }
    const WallMicros created{(0x2f000000LL + 946'684'800) * 1'000'000};
    const VhdFooter footer = vhd_footer(1 * gib, id, created);
    EXPECT_EQ(to_hex(Bytes(footer).first(84)),
              "636f6e65637469780000000200010000ffffffffffffffff2f00000077696e20000a00005769326b"
              "000000004000000000000000400000000820103f00000002ffffe8b2"
              "00112233445566778899aabbccddeeff");
    EXPECT_TRUE(all_zero(Bytes(footer).subspan(84)));
}

TEST(Vhd, SizeIsAWholeNumberOfMebibytes) {
    EXPECT_EQ(vhd_disk_bytes(1), mib);
    EXPECT_EQ(vhd_disk_bytes(mib), mib);
    EXPECT_EQ(vhd_disk_bytes(mib + 512), 2 * mib);
}

// The output of `command`, or nullopt if it could not be run.
std::optional<std::string> output_of(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen((command + " 2>/dev/null").c_str(), "r"),
                                                     pclose);
    std::string out;
    std::array<char, 256> buffer;
    while (pipe != nullptr && std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
        out += buffer.data();
    }
    return out.empty() ? std::nullopt : std::optional(out);
}

TEST(Vhd, QemuSeesExactlyTheDisk) {
    if (!output_of("qemu-img --version")) {
        GTEST_SKIP() << "qemu-img is not installed";
    }
    World world(3, 21 * mib + 512);
    for (int i = 0; i < 10; ++i) {
        world.model.step();
    }
    const PointId point = world.model.publish_point();
    const Catalog catalog = world.catalog();
    const auto reader = world.reader(catalog, point);
    ASSERT_TRUE(reader);
    const std::string dir = testing::TempDir() + "vhd_test";
    std::filesystem::create_directories(dir);
    const auto disk = make_posix_disk();
    WriteOptions options;
    options.path = dir + "/disk.vhd";
    options.format = ImageFormat::vhd;
    ASSERT_TRUE(write_image(**reader, *disk, options, {}));
    EXPECT_EQ(std::filesystem::file_size(options.path), 22 * mib + 512);
    const auto info = output_of("qemu-img info --output=json -f vpc " + options.path);
    ASSERT_TRUE(info);
    EXPECT_NE(info->find("\"virtual-size\": " + std::to_string(22 * mib)), std::string::npos)
        << *info;
    options.path = dir + "/disk.raw";
    options.format = ImageFormat::raw;
    ASSERT_TRUE(write_image(**reader, *disk, options, {}));
    std::filesystem::resize_file(options.path, 22 * mib);
    EXPECT_EQ(
        std::system(("qemu-img compare -q -f vpc -F raw " + dir + "/disk.vhd " + dir + "/disk.raw")
                        .c_str()),
        0);
    std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace cw::recovery
