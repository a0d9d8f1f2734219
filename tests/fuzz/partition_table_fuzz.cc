// What sfdisk says of a disk that somebody else made: every part lies within the image.
#include "appliance/operator/disk_parts.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "base/ids.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    const std::string_view said = as_text({reinterpret_cast<const std::byte*>(data), size});
    for (const std::uint64_t bytes : {std::uint64_t{0}, 64 * mib, UINT64_MAX}) {
        for (const auto& part : appliance::parse_partition_table(said, "disk.img", bytes)) {
            CW_ASSERT(part.image == "disk.img" && part.where.starts_with("partition "));
            CW_ASSERT(part.offset <= bytes && part.size <= bytes - part.offset);
        }
    }
    return 0;
}
