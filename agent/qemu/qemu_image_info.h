// What `qemu-img info --output=json` says of an image that may come from elsewhere: its names are
// whatever a header holds.
#pragma once

#include "base/bytes.h"

#include <string>
#include <string_view>
#include <vector>

namespace cw::agent {

struct QemuImageInfo {
    struct Bitmap {
        std::string name;
        bool in_use = false;     // QEMU ended without storing it: it does not know all.
        bool automatic = false;  // It records whatever is written.
    };
    std::uint64_t size_bytes = 0;
    bool alone = true;  // Its header names no other file as the place of its data.
    std::vector<Bitmap> bitmaps;
};

// Errors: source_gone.
Result<QemuImageInfo> parse_qemu_image_info(std::string_view text);

}  // namespace cw::agent
