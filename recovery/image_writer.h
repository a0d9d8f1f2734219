// Writes an image as a raw file, a block device or a fixed VHD, and proves it by reading it back.
#pragma once

#include "base/clock.h"
#include "base/crypto.h"
#include "base/disk.h"
#include "recovery/image_reader.h"

#include <functional>
#include <optional>
#include <string>

namespace cw::recovery {

enum class ImageFormat : std::uint8_t { raw, vhd };

struct WriteOptions {
    std::string path;
    ImageFormat format = ImageFormat::raw;
    bool force = false;  // Replace an existing file, write to an existing device.
    // Without `force`: whether an existing file at `path` may be replaced all the same. Asked
    // before anything is written, and again right before the new one gets its name.
    std::function<bool()> may_replace = {};
    bool verify = false;                   // Read everything back and compare.
    std::array<std::byte, 16> image_id{};  // VHD: its unique id.
    WallMicros created{};                  // VHD: its time.
    std::function<bool()> cancelled = {};  // Asked often; true ends the work.
    // A file that is whole and on stable storage is about to get its name; with where it lies now.
    std::function<void(const std::string& partial)> about_to_name = {};
};

struct WriteReport {
    std::uint64_t image_bytes = 0;    // Of the disk.
    std::uint64_t file_bytes = 0;     // With padding and footer.
    std::uint64_t written_bytes = 0;  // Not counting holes.
    std::optional<Sha256> sha256;     // With verify: of the image (without padding and footer).
};

// How far: bytes of the disk done, of total. Called often, cheaply; on the caller's thread.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Blocking. Nothing appears under `path` unless everything succeeded (a device is written in
// place). Errors: those of reading; file_exists, in_use, target_unsafe, io_error; restore_mismatch;
// cancelled.
Result<WriteReport> write_image(Image& image, Disk& disk, const WriteOptions& options,
                                const Progress& progress);

}  // namespace cw::recovery
