#include "egress/volume/qcow2_image.h"

#include "base/ids.h"

#include <array>

namespace cw::volume {
namespace {

std::uint64_t number_at(Bytes bytes, std::size_t offset, std::size_t length) {  // Big-endian.
    std::uint64_t value = 0;
    for (const std::byte byte : bytes.subspan(offset, length)) {
        value = value << 8U | std::to_integer<std::uint64_t>(byte);
    }
    return value;
}

// What has to be done before its content can be shown.
std::string remedy(const Qcow2Image& image, const std::string& path) {
    if (image.corrupt) {
        return "; it is marked as corrupt, and nothing is written into it: `qemu-img check -r "
               "all " +
               path + "` may mend it; else let the machine come back into a new image";
    }
    if (image.dirty) {
        return "; it was not closed in peace: `qemu-img check -r all " + path + "` first";
    }
    if (image.backed) {
        return "; it has a backing file, and would hold the whole chain's disk only together with "
               "it: make it one image first, `qemu-img rebase -b \"\" " +
               path + "`, or `qemu-img convert` into a new one";
    }
    return "; show its disk as a raw file and name that one: docs/operations.md, \"A qcow2 "
           "original\"";
}

// What there is to do if it is the disk itself after all, as only whoever ran the machine can know:
// nothing here tells such bytes from an image, and an image must not be written over.
std::string if_it_is_the_disk(const Qcow2Image& image, const std::string& path,
                              std::uint64_t target_bytes) {
    const std::string disk =
        "; if the machine ran from it as raw (format=raw), it is the disk itself and only begins "
        "so: ";
    if (target_bytes != image.disk_bytes) {
        return disk + "say its size, size = " + std::to_string(target_bytes) + " in its [[target]]";
    }
    return disk + "put its first sector, which is written anew, aside: `dd if=" + path +
           " of=first.sector bs=512 count=1 && dd if=/dev/zero of=" + path +
           " bs=512 count=1 conv=notrunc`, and give no --hint (of=" + path +
           " if=first.sector puts it back)";
}

}  // namespace

std::optional<Qcow2Image> parse_qcow2(Bytes head) {
    constexpr std::uint64_t magic = 0x514649FB;                         // "QFI", 0xFB
    constexpr std::size_t version_2_bytes = 72, version_3_bytes = 104;  // Of the headers.
    if (head.size() < version_3_bytes || number_at(head, 0, 4) != magic) {
        return std::nullopt;
    }
    const std::uint64_t version = number_at(head, 4, 4);
    if (version != 2 && version != 3) {
        return std::nullopt;
    }
    const std::uint64_t features = version == 3 ? number_at(head, version_2_bytes, 8) : 0;
    return Qcow2Image{.disk_bytes = number_at(head, 24, 8),
                      .dirty = (features & 1U) != 0,
                      .corrupt = (features & 2U) != 0,
                      .backed = number_at(head, 8, 8) != 0};
}

Result<void> check_not_qcow2(TargetIo& target, const std::string& path, std::uint64_t disk_bytes) {
    if (target.size() < sector_bytes) {
        return {};
    }
    std::array<std::byte, sector_bytes> head{};
    CW_TRY(target.read(0, head));
    const auto image = parse_qcow2(head);
    if (!image || (target.size() == disk_bytes && image->disk_bytes != disk_bytes)) {
        return {};
    }
    std::string text = path + " is a qcow2 image of a disk of " +
                       std::to_string(image->disk_bytes) + " bytes, and a target is written raw";
    if (disk_bytes != 0 && image->disk_bytes != disk_bytes) {
        return fail(Errc::target_unsafe,
                    text + "; nor is that the size of the disk: " + std::to_string(disk_bytes));
    }
    text += remedy(*image, path);
    if (disk_bytes == 0 || target.size() == disk_bytes) {
        text += if_it_is_the_disk(*image, path, target.size());
    }
    return fail(Errc::target_unsafe, text);
}

}  // namespace cw::volume
