// What lies at a target's path: who holds it, what it is mounted as, and what shares its bytes.
#include "egress/volume/target_probe.h"

#include "base/ids.h"
#include "egress/volume/target_hold.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::volume::test {
namespace {

TEST(TargetHold, AMachineThatWouldWriteTheImageIsRefusedAndOneThatReadsItIsNot) {
    const std::string image = testing::TempDir() + "cw_hold" + std::to_string(::getpid());
    std::ofstream(image) << "x";
    const auto sees_lock = [fd = ::open(image.c_str(), O_RDWR | O_CLOEXEC)](std::int64_t byte) {
        struct flock lock{};
        lock.l_type = F_WRLCK;
        lock.l_start = byte;
        lock.l_len = 1;
        EXPECT_EQ(::fcntl(fd, F_OFD_GETLK, &lock), 0);
        return lock.l_type != F_UNLCK;
    };
    auto hold = TargetHold::take(image).value();
    EXPECT_TRUE(sees_lock(201));  // Whoever would write looks here,
    EXPECT_FALSE(sees_lock(200));
    EXPECT_FALSE(sees_lock(101));  // and whoever counts on nobody writing, here.
    EXPECT_TRUE(hold->check_others());
    EXPECT_EQ(TargetHold::check(image).error().code, Errc::target_unsafe);
    ASSERT_TRUE(hold->begin_writing());
    EXPECT_TRUE(sees_lock(101));
    EXPECT_EQ(TargetHold::take(image).error().code, Errc::target_unsafe);
    hold.reset();
    EXPECT_TRUE(TargetHold::check(image));
    std::filesystem::remove(image);
}

TEST(TargetProbe, KnowsWhatMountinfoMounts) {
    constexpr std::string_view text =
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 253:0 / /home rw - xfs /dev/mapper/vg-home rw\n";
    EXPECT_TRUE(mounted_in(text, "8:1"));
    EXPECT_TRUE(mounted_in(text, "253:0"));
    EXPECT_FALSE(mounted_in(text, "8:2"));
    EXPECT_FALSE(mounted_in(text, "22"));
    EXPECT_FALSE(mounted_in("", "8:1"));
}

TEST(TargetProbe, TellsFilesApartAndRefusesWhatIsNeitherFileNorDevice) {
    const auto probe = make_system_probe();
    const std::string a = testing::TempDir() + "cw_probe_a" + std::to_string(::getpid());
    const std::string b = a + "b";
    std::ofstream(a) << "x";
    std::ofstream(b) << "x";
    EXPECT_NE(probe->identity(a).value(), probe->identity(b).value());
    EXPECT_EQ(probe->identity(a).value(), probe->identity(a).value());
    EXPECT_TRUE(probe->check_unused(a).has_value());
    EXPECT_EQ(probe->check_unused("/dev/null").error().code, Errc::target_unsafe);
    EXPECT_EQ(probe->check_unused(a + "c").error().code, Errc::not_found);
    const int holder = ::open(b.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(holder, 0);
    struct flock byte_100{};  // As QEMU locks the images of a running machine.
    byte_100.l_type = F_RDLCK;
    byte_100.l_start = 100;
    byte_100.l_len = 1;
    ASSERT_EQ(::fcntl(holder, F_OFD_SETLK, &byte_100), 0);
    EXPECT_EQ(probe->check_unused(b).error().code, Errc::target_unsafe);
    ::close(holder);
    EXPECT_TRUE(probe->check_unused(b).has_value());
    std::filesystem::remove(a);
    std::filesystem::remove(b);
}

std::string said_by(const std::string& command) {
    std::string out;
    FILE* const pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
    if (pipe != nullptr) {
        char line[256];
        out = ::fgets(line, sizeof line, pipe) != nullptr ? line : "";
        ::pclose(pipe);
    }
    return out.substr(0, out.find('\n'));
}

TEST(TargetProbe, KnowsWhatSharesItsBytesUnderOtherNames) {
    const std::string a = testing::TempDir() + "cw_share_a" + std::to_string(::getpid());
    const std::string b = a + "b", link = a + "link", hard = a + "hard";
    for (const std::string& file : {a, b}) {
        std::ofstream(file) << "x";
        std::filesystem::resize_file(file, mib);
    }
    std::filesystem::create_symlink(a, link);
    std::filesystem::create_hard_link(a, hard);
    EXPECT_TRUE(share_storage(a, a));
    EXPECT_TRUE(share_storage(a, link));
    EXPECT_TRUE(share_storage(hard, a));
    EXPECT_FALSE(share_storage(a, b));
    EXPECT_FALSE(share_storage(a, a + "c"));
    // Not everybody may make one.
    if (const std::string loop = said_by("losetup -f --show " + a); !loop.empty()) {
        EXPECT_TRUE(share_storage(loop, a));
        EXPECT_TRUE(share_storage(link, loop));
        EXPECT_FALSE(share_storage(loop, b));
        const std::string over = said_by("losetup -f --show " + loop);
        EXPECT_TRUE(over.empty() || share_storage(over, a));
        for (const std::string& device : {over, loop}) {
            EXPECT_EQ(said_by("losetup -d " + device + " && echo gone"),
                      device.empty() ? "" : "gone");
        }
    }
    for (const std::string& file : {a, b, link, hard}) {
        std::filesystem::remove(file);
    }
}

}  // namespace
}  // namespace cw::volume::test
