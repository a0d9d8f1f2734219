// Pieces shared by the message codecs of this room; not for use outside it.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/ids.h"

#include <concepts>
#include <string>
#include <type_traits>

namespace cw::wire {

inline std::unexpected<Error> malformed(std::string detail) {
    return fail(Errc::frame_malformed, std::move(detail));
}

inline ByteReader message_reader(Bytes payload) {
    return {payload, Errc::frame_malformed};
}

// Bytes after the last field are as wrong as missing ones: both sides must mean the same message.
inline Result<void> expect_end(const ByteReader& reader) {
    if (!reader.at_end()) {
        return malformed(std::to_string(reader.remaining()) + " bytes after the message");
    }
    return {};
}

inline Result<bool> read_bool(ByteReader& reader) {
    CW_TRY_ASSIGN(const std::uint8_t value, reader.u8());
    if (value > 1) {
        return malformed("truth value " + std::to_string(value));
    }
    return value == 1;
}

// An enumeration of u8 whose members are 1..last.
template <typename E>
Result<E> read_enum(ByteReader& reader, E last) {
    CW_TRY_ASSIGN(const std::uint8_t value, reader.u8());
    if (value == 0 || value > static_cast<std::uint8_t>(last)) {
        return malformed("enumeration value " + std::to_string(value));
    }
    return static_cast<E>(value);
}

// A strong number (Seq, Generation, SessionId …) of its own width.
template <typename E>
Result<E> read_number(ByteReader& reader) {
    CW_TRY_ASSIGN(const auto value, reader.read<std::underlying_type_t<E>>());
    return E{value};
}

// A number that must lie in [low, high].
template <std::unsigned_integral T>
Result<T> read_bounded(ByteReader& reader, T low, T high, const char* what) {
    CW_TRY_ASSIGN(const T value, reader.read<T>());
    if (value < low || value > high) {
        return malformed(std::string(what) + " " + std::to_string(value));
    }
    return value;
}

template <std::unsigned_integral T>
bool in_range(T value, T low, T high) noexcept {
    return low <= value && value <= high;
}

}  // namespace cw::wire
