#include "base/ids.h"

#include "base/random.h"

namespace cw {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

int hex_value(char c) noexcept {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

constexpr bool dash_before(std::size_t byte_index) noexcept {
    return byte_index == 4 || byte_index == 6 || byte_index == 8 || byte_index == 10;
}

}  // namespace

std::string uuid_text(const std::array<std::byte, 16>& bytes) {
    std::array<char, 36> out;  // Every name in the vault has some: not grown digit by digit.
    std::size_t at = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (dash_before(i)) {
            out[at++] = '-';
        }
        const auto value = std::to_integer<unsigned>(bytes[i]);
        out[at++] = hex_digits[value >> 4];
        out[at++] = hex_digits[value & 15];
    }
    return {out.data(), out.size()};
}

Result<std::array<std::byte, 16>> parse_uuid_bytes(std::string_view text) {
    if (text.size() != 36) {
        return fail(Errc::usage, "a UUID has 36 characters");
    }
    std::array<std::byte, 16> bytes{};
    std::size_t at = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (dash_before(i) && text[at++] != '-') {
            return fail(Errc::usage, "a UUID has dashes after 8, 4, 4 and 4 digits");
        }
        const int high = hex_value(text[at]), low = hex_value(text[at + 1]);
        if (high < 0 || low < 0) {
            return fail(Errc::usage, "a UUID consists of hexadecimal digits");
        }
        bytes[i] = static_cast<std::byte>(high * 16 + low);
        at += 2;
    }
    return bytes;
}

std::array<std::byte, 16> make_uuid_bytes(Random& random) {
    std::array<std::byte, 16> bytes{};
    random.fill(bytes);
    bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};  // Version 4.
    bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};  // Variant of RFC 9562.
    return bytes;
}

}  // namespace cw
