// What a monitor says: any bytes, in any pieces.
#include "agent/qemu/qmp_message.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    Bytes in{reinterpret_cast<const std::byte*>(data), size};
    agent::QmpLines lines;
    while (!in.empty()) {
        const std::size_t step = std::min<std::size_t>(in.size(), 1 + size % 61);
        lines.feed(in.first(step));
        in = in.subspan(step);
        for (;;) {
            const auto line = lines.next();
            if (!line || !*line) {
                break;
            }
            CW_ASSERT((*line)->find('\n') == std::string::npos);
            if (const auto message = agent::parse_qmp_message(**line)) {
                CW_ASSERT(message->kind != agent::QmpMessage::Kind::event ||
                          !message->name.empty());
            }
        }
    }
    return 0;
}
