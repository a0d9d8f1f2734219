#include "agent/group/barrier_message.h"

#include <algorithm>

namespace cw::agent {
namespace {

constexpr std::uint32_t barrier_magic = 0x31425743;  // "CWB1"

bool known(std::uint8_t type) noexcept {
    return type >= static_cast<std::uint8_t>(BarrierType::prepare) &&
           type <= static_cast<std::uint8_t>(BarrierType::revoke);
}

}  // namespace

std::string_view name_of(BarrierType type) noexcept {
    switch (type) {
        case BarrierType::prepare:
            return "PREPARE";
        case BarrierType::ready:
            return "READY";
        case BarrierType::release:
            return "RELEASE";
        case BarrierType::released:
            return "RELEASED";
        case BarrierType::commit:
            return "COMMIT";
        case BarrierType::done:
            return "DONE";
        case BarrierType::revoke:
            return "REVOKE";
    }
    return "?";
}

ByteVector encode_barrier(const BarrierMessage& message) {
    CW_ASSERT(!message.barrier.is_nil() && message.hold_ms <= barrier_hold_ms_max);
    const std::size_t text = std::min(message.text.size(), barrier_text_bytes_max);
    ByteVector bytes(barrier_head_bytes + text);
    ByteWriter out(bytes);
    out.u32(barrier_magic);
    out.u8(static_cast<std::uint8_t>(message.type));
    out.u8(message.yes ? 1 : 0);
    out.u16(static_cast<std::uint16_t>(text));
    out.bytes(message.barrier.bytes);
    out.u32(message.hold_ms);
    out.u32(0);
    out.bytes(as_bytes(message.text).first(text));
    return bytes;
}

Result<std::optional<DecodedBarrier>> decode_barrier(Bytes bytes) {
    if (bytes.size() < barrier_head_bytes) {
        return std::nullopt;
    }
    ByteReader in(bytes.first(barrier_head_bytes), Errc::frame_malformed);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t type, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t yes, in.u8());
    CW_TRY_ASSIGN(const std::uint16_t text, in.u16());
    DecodedBarrier out;
    BarrierMessage& message = out.message;
    CW_TRY_ASSIGN(message.barrier.bytes, in.array<16>());
    CW_TRY_ASSIGN(message.hold_ms, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t zeros, in.u32());
    if (magic != barrier_magic || !known(type) || yes > 1 || text > barrier_text_bytes_max ||
        message.barrier.is_nil() || message.hold_ms > barrier_hold_ms_max || zeros != 0) {
        return fail(Errc::frame_malformed, "not a message of a group");
    }
    out.used = barrier_head_bytes + text;
    if (bytes.size() < out.used) {
        return std::nullopt;
    }
    message.type = static_cast<BarrierType>(type);
    message.yes = yes != 0;
    message.text = std::string(as_text(bytes.subspan(barrier_head_bytes, text)));
    return out;
}

}  // namespace cw::agent
