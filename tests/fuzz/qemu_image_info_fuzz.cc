// What qemu-img says of an image that somebody else made: no size beyond a disk's, and an image is
// alone only where no other file is named.
#include "agent/qemu/qemu_image_info.h"
#include "base/assert.h"

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    std::string_view said = as_text({reinterpret_cast<const std::byte*>(data), size});
    said = said.substr(0, said.find('\0'));  // To the JSON parser that is the end of the text.
    const auto info = agent::parse_qemu_image_info(said);
    if (!info) {
        CW_ASSERT(info.error().code == Errc::source_gone);
        CW_ASSERT(info.error().detail.size() < 200);  // Nothing of what was said.
        return 0;
    }
    CW_ASSERT(info->size_bytes <= std::uint64_t{INT64_MAX});
    const bool escaped = said.contains('\\');  // A key may then be written in another way.
    const bool names_file = said.contains("\"backing-filename\"") || said.contains("\"data-file\"");
    CW_ASSERT(info->alone || names_file || escaped);
    // Its own words again, with a file beneath: of two members with one name the last one counts.
    if (const auto last = said.find_last_of('}'); info->alone) {
        const auto with_file =
            std::string(said.substr(0, last)) + R"(, "backing-filename": "/etc/shadow"})";
        const auto other = agent::parse_qemu_image_info(with_file);
        CW_ASSERT(other && !other->alone && other->size_bytes == info->size_bytes);
        CW_ASSERT(other->bitmaps.size() == info->bitmaps.size());
    }
    for (const auto& bitmap : info->bitmaps) {
        CW_ASSERT(bitmap.name.size() <= size);
        CW_ASSERT(!bitmap.in_use || said.contains("\"in-use\"") || escaped);
        CW_ASSERT(!bitmap.automatic || said.contains("\"auto\"") || escaped);
    }
    return 0;
}
