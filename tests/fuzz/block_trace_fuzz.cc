// What a kernel says of its block tracepoints; whatever it says, the program made of it is one that
// ends and reads nothing but the record's fields.
#include "agent/hints/block_trace.h"
#include "base/assert.h"
#include "base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw;
    const std::string text(as_text({reinterpret_cast<const std::byte*>(data), size}));
    const auto format = agent::parse_block_trace_format(text);
    if (!format) {
        CW_ASSERT(format.error().code == Errc::not_found);
        return 0;
    }
    for (const std::int16_t offset :
         {format->device, format->sector, format->sectors, format->kind}) {
        CW_ASSERT(offset >= 8 && offset < 4096);
    }
    CW_ASSERT(format->device % 4 == 0 && format->sector % 8 == 0 && format->sectors % 4 == 0);
    agent::WatchedDevice device;
    device.device = static_cast<std::uint32_t>(size) << 20 | 1;
    device.first_sector = size * 3;
    device.sectors = 1 + size * 4096;
    const auto program = agent::block_trace_program(*format, device, 3);
    CW_ASSERT(!program.empty() && program.back().code == (BPF_JMP | BPF_EXIT));
    for (std::size_t i = 0; i < program.size(); ++i) {
        const bool jumps =
            BPF_CLASS(program[i].code) == BPF_JMP || BPF_CLASS(program[i].code) == BPF_JMP32;
        const auto to = static_cast<std::int64_t>(i) + 1 + program[i].off;
        CW_ASSERT(!jumps || (to >= 0 && to <= static_cast<std::int64_t>(program.size())));
    }
    return 0;
}
