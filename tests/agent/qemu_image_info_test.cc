#include "agent/qemu/qemu_image_info.h"

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

std::string qcow2_with(const std::string& data) {
    return R"({"virtual-size": 8388608, "format": "qcow2", "format-specific": {"type": "qcow2", "data": {)" +
           data + "}}}";
}

TEST(QemuImageInfo, TellsTheSizeAndEachBitmapWithWhetherItKnowsAll) {
    const auto info = parse_qemu_image_info(
        qcow2_with(R"("bitmaps": [{"flags": ["auto"], "name": "since-1", "granularity": 65536},)"
                   R"({"flags": ["in-use", "auto"], "name": "odd \"name\"", "granularity": 65536},)"
                   R"({"flags": [], "name": "", "granularity": 65536}])"));
    ASSERT_TRUE(info.has_value()) << to_string(info.error());
    EXPECT_EQ(info->size_bytes, std::uint64_t{8388608});
    EXPECT_TRUE(info->alone);
    ASSERT_EQ(info->bitmaps.size(), 3U);
    EXPECT_EQ(info->bitmaps[0].name, "since-1");
    EXPECT_TRUE(info->bitmaps[0].automatic && !info->bitmaps[0].in_use);
    EXPECT_EQ(info->bitmaps[1].name, "odd \"name\"");
    EXPECT_TRUE(info->bitmaps[1].automatic && info->bitmaps[1].in_use);
    EXPECT_FALSE(info->bitmaps[2].automatic || info->bitmaps[2].in_use);
}

TEST(QemuImageInfo, AnImageWhoseHeaderNamesAnotherFileIsNotAlone) {
    for (const char* const named : {R"("data-file": "/etc/shadow")", R"("data-file": "")"}) {
        const auto info = parse_qemu_image_info(qcow2_with(named));
        ASSERT_TRUE(info.has_value()) << named;
        EXPECT_FALSE(info->alone) << named;
    }
    const auto overlay =
        parse_qemu_image_info(R"({"virtual-size": 512, "backing-filename": "/etc/shadow"})");
    ASSERT_TRUE(overlay.has_value());
    EXPECT_FALSE(overlay->alone);
}

TEST(QemuImageInfo, ThatIsNoneIsRefused) {
    for (const std::string& said :
         {std::string(), std::string("[]"), std::string("{}"),
          std::string(R"({"virtual-size": -1})"), std::string(R"({"virtual-size": 1e9})"),
          std::string(R"({"virtual-size": 9223372036854775808})"),
          std::string(R"({"virtual-size": 512, "format-specific": {"type": "qcow2"}})"),
          qcow2_with(R"("bitmaps": {})"), qcow2_with(R"("bitmaps": [1])"),
          qcow2_with(R"("bitmaps": [{"name": "without flags"}])"),
          qcow2_with(R"("bitmaps": [{"flags": []}])"), qcow2_with("") + "}"}) {
        const auto info = parse_qemu_image_info(said);
        ASSERT_FALSE(info.has_value()) << said;
        EXPECT_EQ(info.error().code, Errc::source_gone) << said;
    }
}

}  // namespace
}  // namespace cw::agent::test
