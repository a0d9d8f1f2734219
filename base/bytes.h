// Byte cursors: how every header is written and how every byte from outside is read.
//
// ByteReader checks each step and reports `code` on a short buffer; ByteWriter asserts, because the
// size of what we write is ours. All numbers are little-endian unless the name says otherwise.
#pragma once

#include "base/assert.h"
#include "base/error.h"

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cw {

static_assert(std::endian::native == std::endian::little, "formats are little-endian");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using ByteVector = std::vector<std::byte>;

inline Bytes as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Lower-case hexadecimal.
std::string to_hex(Bytes bytes);
// Errors: usage (odd length or a non-hex digit).
Result<ByteVector> from_hex(std::string_view text);
// RFC 4648 base64 with padding.
std::string to_base64(Bytes bytes);
Result<ByteVector> from_base64(std::string_view text);

// Reads forward through borrowed bytes; every failure carries `code`.
class ByteReader {
public:
    ByteReader(Bytes bytes, Errc code) noexcept : bytes_(bytes), code_(code) {}

    template <std::unsigned_integral T>
    Result<T> read() {
        if (remaining() < sizeof(T)) {
            return short_by(sizeof(T));
        }
        T value;
        std::memcpy(&value, bytes_.data() + at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }
    Result<std::uint8_t> u8() { return read<std::uint8_t>(); }
    Result<std::uint16_t> u16() { return read<std::uint16_t>(); }
    Result<std::uint32_t> u32() { return read<std::uint32_t>(); }
    Result<std::uint64_t> u64() { return read<std::uint64_t>(); }

    template <std::size_t N>
    Result<std::array<std::byte, N>> array() {
        if (remaining() < N) {
            return short_by(N);
        }
        std::array<std::byte, N> out;
        std::memcpy(out.data(), bytes_.data() + at_, N);
        at_ += N;
        return out;
    }
    // Borrowed from the underlying bytes.
    Result<Bytes> take(std::size_t count) {
        if (remaining() < count) {
            return short_by(count);
        }
        const Bytes out = bytes_.subspan(at_, count);
        at_ += count;
        return out;
    }
    // A 16-bit length and that many bytes of text; `max` bounds the length.
    Result<std::string> text16(std::size_t max);

    [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - at_; }
    [[nodiscard]] std::size_t position() const noexcept { return at_; }
    [[nodiscard]] bool at_end() const noexcept { return remaining() == 0; }

private:
    std::unexpected<Error> short_by(std::size_t wanted) const;

    Bytes bytes_;
    std::size_t at_ = 0;
    Errc code_;
};

// Writes forward into a fixed span; running over the end is a bug of ours and aborts.
class ByteWriter {
public:
    explicit ByteWriter(MutableBytes out) noexcept : out_(out) {}

    template <std::unsigned_integral T>
    void write(T value) {
        bytes({reinterpret_cast<const std::byte*>(&value), sizeof value});
    }
    void u8(std::uint8_t v) { write(v); }
    void u16(std::uint16_t v) { write(v); }
    void u32(std::uint32_t v) { write(v); }
    void u64(std::uint64_t v) { write(v); }
    void bytes(Bytes source) {
        CW_ASSERT(source.size() <= out_.size() - at_);
        if (!source.empty()) {
            std::memcpy(out_.data() + at_, source.data(), source.size());
        }
        at_ += source.size();
    }
    void zeros(std::size_t count) {
        CW_ASSERT(count <= out_.size() - at_);
        std::memset(out_.data() + at_, 0, count);
        at_ += count;
    }
    [[nodiscard]] std::size_t position() const noexcept { return at_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return out_.size() - at_; }

private:
    MutableBytes out_;
    std::size_t at_ = 0;
};

// Appends to a vector that grows: for manifests, control frames and other cold data.
class ByteAppender {
public:
    explicit ByteAppender(ByteVector& out) noexcept : out_(out) {}

    template <std::unsigned_integral T>
    void write(T value) {
        bytes({reinterpret_cast<const std::byte*>(&value), sizeof value});
    }
    void u8(std::uint8_t v) { write(v); }
    void u16(std::uint16_t v) { write(v); }
    void u32(std::uint32_t v) { write(v); }
    void u64(std::uint64_t v) { write(v); }
    void bytes(Bytes source) { out_.insert(out_.end(), source.begin(), source.end()); }
    void zeros(std::size_t count) { out_.resize(out_.size() + count); }
    // A 16-bit length and the text. Longer than 65,535 bytes aborts: bound it first.
    void text16(std::string_view text) {
        CW_ASSERT(text.size() <= 0xffff);
        u16(static_cast<std::uint16_t>(text.size()));
        bytes(as_bytes(text));
    }

private:
    ByteVector& out_;
};

}  // namespace cw
