#include "pipeline/crc_combine.h"

#include <array>
#include <concepts>

// A reflected CRC is a polynomial over GF(2) with x^0 in the top bit. Appending n bytes multiplies
// what came before by x^(8n) modulo the generator, and pre- and post-inversion cancel out.
namespace cw::pipeline {
namespace {

constexpr std::uint64_t crc64_poly = 0x9a6c9329ac4bc9b5;  // NVM Express "Rocksoft", reflected.
constexpr std::uint32_t crc32c_poly = 0x82f63b78;         // Castagnoli, reflected.

template <std::unsigned_integral U, U poly>
constexpr U multiply(U a, U b) noexcept {
    constexpr U top = U{1} << (sizeof(U) * 8 - 1);
    U product = 0;
    for (U bit = top; bit != 0; bit >>= 1) {
        product ^= (a & bit) != 0 ? b : U{0};
        b = (b >> 1) ^ ((b & 1) != 0 ? poly : U{0});  // b *= x
    }
    return product;
}

// powers[k] = x^(8 * 2^k): one byte, two bytes, four bytes …
template <std::unsigned_integral U, U poly>
constexpr std::array<U, 64> make_powers() noexcept {
    constexpr U top = U{1} << (sizeof(U) * 8 - 1);
    std::array<U, 64> powers{};
    powers[0] = top >> 8;
    for (std::size_t k = 1; k < powers.size(); ++k) {
        powers[k] = multiply<U, poly>(powers[k - 1], powers[k - 1]);
    }
    return powers;
}

template <std::unsigned_integral U, U poly>
U shift(U crc, std::uint64_t bytes) noexcept {
    static constexpr auto powers = make_powers<U, poly>();
    for (std::size_t k = 0; bytes != 0 && crc != 0; ++k, bytes >>= 1) {
        if ((bytes & 1) != 0) {
            crc = multiply<U, poly>(crc, powers[k]);
        }
    }
    return crc;
}

}  // namespace

std::uint64_t crc64nvme_combine(std::uint64_t crc_a, std::uint64_t crc_b,
                                std::uint64_t length_b_bytes) noexcept {
    return shift<std::uint64_t, crc64_poly>(crc_a, length_b_bytes) ^ crc_b;
}

std::uint32_t crc32c_combine(std::uint32_t crc_a, std::uint32_t crc_b,
                             std::uint64_t length_b_bytes) noexcept {
    return shift<std::uint32_t, crc32c_poly>(crc_a, length_b_bytes) ^ crc_b;
}

}  // namespace cw::pipeline
