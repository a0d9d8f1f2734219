// Names of things: different numbers are different types, so that none stands in for another.
//
// Thread-safety: values. Text forms are canonical and safe in object names: lower-case hex only.
#pragma once

#include "base/error.h"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace cw {

class Random;

// A UUID (RFC 9562) as 16 bytes in network order. `Tag` keeps machines, disks and points apart.
template <typename Tag>
struct Uuid {
    std::array<std::byte, 16> bytes{};

    friend auto operator<=>(const Uuid&, const Uuid&) = default;
    [[nodiscard]] bool is_nil() const noexcept { return *this == Uuid{}; }
};

using MachineId = Uuid<struct MachineTag>;
using DiskId = Uuid<struct DiskTag>;
using PointId = Uuid<struct PointTag>;
using GroupId = Uuid<struct GroupTag>;
using ServerId = Uuid<struct ServerTag>;  // A process server or master target.
using VaultId = Uuid<struct VaultTag>;
using SpoolId = Uuid<struct SpoolTag>;

// "6ba7b810-9dad-11d1-80b4-00c04fd430c8", always 36 characters, lower case.
std::string uuid_text(const std::array<std::byte, 16>& bytes);
// Accepts exactly the canonical form (either case). Errors: usage.
Result<std::array<std::byte, 16>> parse_uuid_bytes(std::string_view text);
// A random version 4 UUID.
std::array<std::byte, 16> make_uuid_bytes(Random& random);

template <typename Tag>
std::string to_string(const Uuid<Tag>& id) {
    return uuid_text(id.bytes);
}
template <typename Id>
Result<Id> parse_id(std::string_view text) {
    CW_TRY_ASSIGN(const auto bytes, parse_uuid_bytes(text));
    return Id{bytes};
}
template <typename Id>
Id make_id(Random& random) {
    return Id{make_uuid_bytes(random)};
}

// Position in one disk's history within one generation. Gapless from 1; 0 means "nothing yet".
enum class Seq : std::uint64_t {};
// Changes whenever the continuity of a disk's history is lost. Starts at 1.
enum class Generation : std::uint64_t {};
// Which writer owns a machine's manifest chain. Grows with every takeover; starts at 1.
enum class Epoch : std::uint64_t {};
// One accepted connection's lifetime on this server; 0 is none.
enum class SessionId : std::uint32_t {};

template <typename E>
    requires std::is_enum_v<E>
constexpr auto raw(E value) noexcept {
    return static_cast<std::underlying_type_t<E>>(value);
}
constexpr Seq next(Seq seq) noexcept {
    return Seq{raw(seq) + 1};
}
constexpr Seq advance(Seq seq, std::uint64_t count) noexcept {
    return Seq{raw(seq) + count};
}

inline constexpr std::uint64_t kib = 1024, mib = 1024 * kib, gib = 1024 * mib;
inline constexpr std::uint64_t sector_bytes = 512;  // Smallest addressable unit of a source disk.
inline constexpr std::uint64_t block_bytes = 4096;  // Alignment of everything written O_DIRECT.

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
    return (value + alignment - 1) / alignment * alignment;
}

}  // namespace cw

template <typename Tag>
struct std::hash<cw::Uuid<Tag>> {
    std::size_t operator()(const cw::Uuid<Tag>& id) const noexcept {
        std::size_t h = 0;
        for (std::size_t i = 0; i < 8; ++i) {  // Random UUIDs: eight bytes are spread enough.
            h = (h << 8) | static_cast<std::size_t>(id.bytes[i] ^ id.bytes[i + 8]);
        }
        return h;
    }
};
