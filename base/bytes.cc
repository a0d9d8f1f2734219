#include "base/bytes.h"

namespace cw {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view base64_digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string to_hex(Bytes bytes) {
    std::string out(bytes.size() * 2, '0');
    char* at = out.data();
    for (const std::byte b : bytes) {
        *at++ = hex_digits[std::to_integer<unsigned>(b) >> 4];
        *at++ = hex_digits[std::to_integer<unsigned>(b) & 15];
    }
    return out;
}

Result<ByteVector> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) {
        return fail(Errc::usage, "hexadecimal text has an even number of digits");
    }
    ByteVector out;
    out.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
        unsigned value = 0;
        for (std::size_t k = 0; k < 2; ++k) {
            const char c = text[i + k];
            const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
            const auto digit = hex_digits.find(lower);
            if (digit == std::string_view::npos) {
                return fail(Errc::usage, "not a hexadecimal digit");
            }
            value = value * 16 + static_cast<unsigned>(digit);
        }
        out.push_back(static_cast<std::byte>(value));
    }
    return out;
}

std::string to_base64(Bytes bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t n = bytes.size() - i < 3 ? bytes.size() - i : 3;
        unsigned value = 0;
        for (std::size_t k = 0; k < 3; ++k) {
            value = value << 8 | (k < n ? std::to_integer<unsigned>(bytes[i + k]) : 0);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            out += k <= n ? base64_digits[value >> (18 - 6 * k) & 63] : '=';
        }
    }
    return out;
}

Result<ByteVector> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) {
        return fail(Errc::usage, "base64 text has a multiple of four characters");
    }
    ByteVector out;
    out.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        const bool last = i + 4 == text.size();
        std::size_t padding = 0;
        unsigned value = 0;
        for (std::size_t k = 0; k < 4; ++k) {
            const char c = text[i + k];
            const auto digit = base64_digits.find(c);
            if (c == '=' && last && k >= 2) {
                ++padding;
                value <<= 6;
            } else if (digit == std::string_view::npos || padding > 0) {
                return fail(Errc::usage, "not base64");
            } else {
                value = value << 6 | static_cast<unsigned>(digit);
            }
        }
        for (std::size_t k = 0; k < 3 - padding; ++k) {
            out.push_back(static_cast<std::byte>(value >> (16 - 8 * k) & 255));
        }
    }
    return out;
}

Result<std::string> ByteReader::text16(std::size_t max) {
    CW_TRY_ASSIGN(const std::uint16_t length, u16());
    if (length > max) {
        return fail(code_, "text of " + std::to_string(length) + " bytes where at most " +
                               std::to_string(max) + " are allowed");
    }
    CW_TRY_ASSIGN(const Bytes text, take(length));
    return std::string(as_text(text));
}

std::unexpected<Error> ByteReader::short_by(std::size_t wanted) const {
    return fail(code_, "ends at byte " + std::to_string(bytes_.size()) + " where " +
                           std::to_string(at_ + wanted) + " are needed");
}

}  // namespace cw
