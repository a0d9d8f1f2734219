// What coordinator and members of a group say to each other, on port 20004 after mutual TLS.
//
// Little-endian, one behind the other: magic "CWB1" u32 | type u8 | yes u8 | text length u16 |
// barrier 16 | hold u32 ms | zeros u32 | text (UTF-8: a tag, or a reason; data, never a command).
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"

#include <optional>
#include <string>

namespace cw::agent {

inline constexpr std::size_t barrier_head_bytes = 32, barrier_text_bytes_max = 256;
inline constexpr std::uint32_t barrier_hold_ms_max = 60'000;

enum class BarrierType : std::uint8_t {
    prepare = 1,   // coordinator: hold your writers, cut; `hold_ms`, text: the point's tag
    ready = 2,     // member: yes, I hold; or no, with the reason
    release = 3,   // coordinator: everybody holds, let go
    released = 4,  // member: yes, I held until now; no: my time was over before
    commit = 5,    // coordinator: everybody held
    done = 6,      // member: yes, the point belongs to the group
    revoke = 7,    // coordinator, at any time: it does not; let go
};
std::string_view name_of(BarrierType type) noexcept;

struct BarrierMessage {
    BarrierType type{};
    bool yes = false;
    GroupId barrier;
    std::uint32_t hold_ms = 0;
    std::string text{};
};

// Text beyond its limit is cut.
ByteVector encode_barrier(const BarrierMessage& message);
// The first message in `bytes` and its length; nullopt: not whole yet. Errors: frame_malformed.
struct DecodedBarrier {
    BarrierMessage message;
    std::size_t used = 0;
};
Result<std::optional<DecodedBarrier>> decode_barrier(Bytes bytes);

}  // namespace cw::agent
