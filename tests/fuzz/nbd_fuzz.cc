// NBD negotiation and request headers: any bytes, in any pieces.
#include "agent/nbd/nbd_protocol.h"
#include "base/ids.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

using namespace cw;
using namespace cw::agent;

constexpr std::uint64_t disk_bytes = 1 << 20;

const std::vector<NbdExport>& exports() {
    static const std::vector<NbdExport> all{{"a", disk_bytes}, {"disk", 1 << 30}};
    return all;
}

// What a peer said byte by byte is answered as what it said at once.
void check_negotiation(Bytes in) {
    CW_ASSERT(as_text(NbdNegotiation::greeting()).starts_with("NBDMAGICIHAVEOPT"));
    NbdNegotiation whole(exports()), pieces(exports());
    ByteVector answers, answers_to_pieces, held;
    const auto used = whole.feed(in, answers);
    CW_ASSERT(!used || *used <= in.size());
    bool sound = true;
    for (const std::byte one : in) {
        held.push_back(one);
        const auto taken = pieces.feed(held, answers_to_pieces);
        sound = taken.has_value();
        if (!sound || pieces.chosen()) {
            break;
        }
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(*taken));
    }
    CW_ASSERT(sound == used.has_value() && answers == answers_to_pieces);
    CW_ASSERT(whole.chosen() == pieces.chosen());
    CW_ASSERT(!whole.chosen() || *whole.chosen() < exports().size());
}

// The bytes of a request in the order of the wire, as a client writes them.
ByteVector request_bytes(const NbdRequest& request) {
    ByteVector out;
    ByteAppender writer(out);
    writer.u32(__builtin_bswap32(0x25609513));
    writer.u16(__builtin_bswap16(request.flags));
    writer.u16(__builtin_bswap16(static_cast<std::uint16_t>(request.command)));
    writer.u64(request.cookie);
    writer.u64(__builtin_bswap64(request.offset));
    writer.u32(__builtin_bswap32(request.length));
    return out;
}

void check_request(Bytes head) {
    const auto request = parse_nbd_request(head);
    if (!request) {
        return;
    }
    CW_ASSERT(std::ranges::equal(request_bytes(*request), head));
    const std::uint32_t refused = check_nbd_request(*request, disk_bytes);
    if (refused == 0 && request->command != NbdCommand::flush) {
        CW_ASSERT(request->offset + request->length <= disk_bytes && request->length > 0);
        CW_ASSERT(request->offset % sector_bytes == 0 && request->length % sector_bytes == 0);
    }
    const auto reply = nbd_reply(request->cookie, refused);
    ByteReader in(reply, Errc::frame_malformed);
    CW_ASSERT(__builtin_bswap32(*in.u32()) == 0x67446698);
    CW_ASSERT(__builtin_bswap32(*in.u32()) == refused && *in.u64() == request->cookie);
    CW_ASSERT(in.at_end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes in{reinterpret_cast<const std::byte*>(data), size};
    check_negotiation(in.first(std::min<std::size_t>(size, 4096)));
    check_request(in.first(std::min(size, nbd_request_bytes)));
    return 0;
}
