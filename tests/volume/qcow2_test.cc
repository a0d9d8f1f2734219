// A target that is a qcow2 image is recognised, and so is the file that shows its disk.
#include "egress/volume/mounted_file.h"
#include "egress/volume/qcow2_image.h"
#include "tests/volume/volume_rig.h"

namespace cw::volume::test {
namespace {

void put(ByteVector& bytes, std::size_t offset, std::size_t length, std::uint64_t value) {
    for (std::size_t i = 0; i < length; ++i) {
        bytes[offset + length - 1 - i] = static_cast<std::byte>(value >> (8 * i));
    }
}

// As `qemu-img create -f qcow2` begins one.
ByteVector image_of(std::uint64_t disk_bytes, std::size_t bytes, std::uint64_t features = 0) {
    ByteVector out(bytes);
    put(out, 0, 4, 0x514649FB);
    put(out, 4, 4, 3);
    put(out, 24, 8, disk_bytes);
    put(out, 72, 8, features);
    return out;
}

TEST(Qcow2Image, SaysWhatItIs) {
    const ByteVector plain = image_of(64 * mib, 512);
    ASSERT_TRUE(parse_qcow2(plain));
    EXPECT_EQ(parse_qcow2(plain)->disk_bytes, 64 * mib);
    EXPECT_FALSE(parse_qcow2(plain)->dirty || parse_qcow2(plain)->corrupt ||
                 parse_qcow2(plain)->backed);
    EXPECT_TRUE(parse_qcow2(image_of(64 * mib, 512, 1))->dirty);
    EXPECT_TRUE(parse_qcow2(image_of(64 * mib, 512, 2))->corrupt);
    ByteVector overlay = plain;
    put(overlay, 8, 8, 512);
    EXPECT_TRUE(parse_qcow2(overlay)->backed);
    ByteVector old = image_of(64 * mib, 512, 3);  // Version 2 has no features there.
    put(old, 4, 4, 2);
    EXPECT_FALSE(parse_qcow2(old)->dirty || parse_qcow2(old)->corrupt);
}

TEST(Qcow2Image, IsNotSeenInOtherBytes) {
    EXPECT_FALSE(parse_qcow2({}));
    EXPECT_FALSE(parse_qcow2(Bytes(image_of(mib, 512)).first(103)));
    EXPECT_FALSE(parse_qcow2(ByteVector(512)));
    ByteVector later = image_of(mib, 512);
    put(later, 4, 4, 4);
    EXPECT_FALSE(parse_qcow2(later));
}

class Qcow2Target : public testing::Test {
protected:
    Result<void> check(const ByteVector& target, std::uint64_t disk_bytes) {
        OpenOptions how;
        how.write = how.create = true;
        auto file = disk_->open("/target", how).value();
        EXPECT_TRUE(disk_->resize(*file, target.size(), false));
        EXPECT_TRUE(write_at(*disk_, *file, 0, target, true));
        TargetIo io(*disk_, std::move(file), false);
        return check_not_qcow2(io, "/target", disk_bytes);
    }
    std::string refusal(const ByteVector& target, std::uint64_t disk_bytes) {
        const auto checked = check(target, disk_bytes);
        EXPECT_FALSE(checked);
        EXPECT_EQ(checked.error().code, Errc::target_unsafe);
        return checked.error().detail;
    }
    static bool has(const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    }
    fakes::SimStorage storage_{1};
    std::unique_ptr<fakes::SimDisk> disk_ = storage_.make_disk();
};

TEST_F(Qcow2Target, IsRefusedWithWhatToDoAboutIt) {
    EXPECT_TRUE(has(refusal(image_of(mib, 8192), mib), "A qcow2 original"));
    EXPECT_TRUE(has(refusal(image_of(mib, 8192), 0), "A qcow2 original"));
    EXPECT_TRUE(has(refusal(image_of(mib, mib), mib), "A qcow2 original")) << "of the same size";
    EXPECT_TRUE(has(refusal(image_of(mib, 8192, 1), mib), "qemu-img check -r all /target"));
    EXPECT_TRUE(has(refusal(image_of(mib, 8192, 2), mib), "marked as corrupt"));
    ByteVector overlay = image_of(mib, 8192);
    put(overlay, 8, 8, 512);
    EXPECT_TRUE(has(refusal(overlay, mib), "qemu-img rebase"));
    EXPECT_TRUE(has(refusal(image_of(2 * mib, 8192), mib), "nor is that the size of the disk"));
}

TEST_F(Qcow2Target, IsNotWhatADiskOfItsSizeHasAsItsContent) {
    EXPECT_TRUE(check(image_of(8 * mib, mib), mib));
    EXPECT_TRUE(check(ByteVector(mib), mib));
    EXPECT_TRUE(check(ByteVector(100), mib)) << "too short is for others to say";
}

TEST_F(Qcow2Target, OfADisksOwnSizeMayBeTheDiskItselfAndThatCanBeSaid) {
    ByteVector target = image_of(mib, mib);
    const std::string ambiguous = refusal(target, mib);
    EXPECT_TRUE(has(ambiguous, "A qcow2 original")) << ambiguous;
    EXPECT_TRUE(has(ambiguous, "if the machine ran from it as raw")) << ambiguous;
    EXPECT_TRUE(has(ambiguous, "dd if=/dev/zero of=/target bs=512 count=1 conv=notrunc"));
    EXPECT_TRUE(has(ambiguous, "give no --hint"));
    EXPECT_TRUE(has(refusal(target, 0), "dd if=/dev/zero of=/target"));
    std::fill_n(target.begin(), sector_bytes, std::byte{0});  // As it says.
    EXPECT_TRUE(check(target, mib));

    const std::string unsized = refusal(image_of(8 * mib, mib), 0);
    EXPECT_TRUE(has(unsized, "size = 1048576 in its [[target]]")) << unsized;
    EXPECT_TRUE(check(image_of(8 * mib, mib), mib)) << "as it says";
    EXPECT_FALSE(has(refusal(image_of(mib, 8192), mib), "dd if=")) << "too short to be the disk";
}

TEST(MountedFile, IsTheRootOfAMountWithoutADevice) {
    constexpr std::string_view mounts =
        "27 1 254:0 / / rw - ext4 /dev/vda1 rw\n"
        "42 27 0:39 / /srv/old\\040disk/web1.raw rw,nosuid - fuse /dev/fuse rw,user_id=0\n"
        "43 27 254:0 /srv/a /srv/b rw - ext4 /dev/vda1 rw\n"
        "44 27 0:40 /a /srv/c rw - tmpfs tmpfs rw\n";
    EXPECT_TRUE(is_mounted_file(mounts, "0:39", "/srv/old disk/web1.raw"));
    EXPECT_FALSE(is_mounted_file(mounts, "0:39", "/srv/old disk/other.raw"));
    EXPECT_FALSE(is_mounted_file(mounts, "0:38", "/srv/old disk/web1.raw"));
    EXPECT_FALSE(is_mounted_file(mounts, "254:0", "/srv/b")) << "a bind keeps device and inode";
    EXPECT_FALSE(is_mounted_file(mounts, "0:40", "/srv/c"));
    EXPECT_FALSE(is_mounted_file("", "0:39", "/srv/c"));
}

}  // namespace
}  // namespace cw::volume::test
