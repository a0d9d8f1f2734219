// A planted crash behind a number of conditions that only coverage guidance gets through.
#include "base/bytes.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    cw::ByteReader in({reinterpret_cast<const std::byte*>(data), size}, cw::Errc::frame_malformed);
    const auto magic = in.u32();
    if (!magic || *magic != 0x31455743U) {
        return 0;
    }
    const auto kind = in.u8();
    if (kind && *kind == 42) {
        std::abort();
    }
    return 0;
}
