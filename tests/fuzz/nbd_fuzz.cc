// NBD negotiation and request headers: any bytes, in any pieces.
#include "agent/nbd/nbd_protocol.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    static const std::vector<agent::NbdExport> exports{{"a", 1 << 20}, {"disk", 1 << 30}};
    const Bytes in{reinterpret_cast<const std::byte*>(data), size};
    agent::NbdNegotiation negotiation(exports);
    ByteVector out;
    const auto used = negotiation.feed(in, out);
    CW_ASSERT(!used || *used <= size);
    if (const auto request = agent::parse_nbd_request(in.first(std::min<std::size_t>(size, 28)))) {
        if (agent::check_nbd_request(*request, 1 << 20) == 0 &&
            request->command != agent::NbdCommand::flush) {
            CW_ASSERT(request->offset + request->length <= 1 << 20 && request->length > 0);
        }
    }
    return 0;
}
