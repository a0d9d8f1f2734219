#include "base/checksum.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <immintrin.h>
#include <isa-l/crc.h>
#include <isa-l/mem_routines.h>
#include <xxh_x86dispatch.h>

namespace cw {
namespace {

// Reflected form: bit i of a 64-bit value is the coefficient of x^(63-i).
constexpr std::uint64_t crc64_polynomial = 0x9a6c9329ac4bc9b5ULL;

constexpr std::uint64_t times_x(std::uint64_t value) noexcept {
    return (value >> 1) ^ ((value & 1) != 0 ? crc64_polynomial : 0);
}

// x^n modulo the polynomial.
constexpr std::uint64_t power_of_x(unsigned n) noexcept {
    std::uint64_t value = 1ULL << 63;
    for (unsigned i = 0; i < n; ++i) {
        value = times_x(value);
    }
    return value;
}

constexpr std::array<std::uint64_t, 256> make_crc64_table() noexcept {
    std::array<std::uint64_t, 256> table{};
    for (std::size_t i = 0; i < table.size(); ++i) {
        std::uint64_t value = i;
        for (int bit = 0; bit < 8; ++bit) {
            value = times_x(value);
        }
        table[i] = value;
    }
    return table;
}

constexpr auto crc64_table = make_crc64_table();

// `state` is the CRC register itself: not inverted.
std::uint64_t crc64_by_table(const std::byte* data, std::size_t size,
                             std::uint64_t state) noexcept {
    for (std::size_t i = 0; i < size; ++i) {
        const auto index = (state ^ std::to_integer<std::uint64_t>(data[i])) & 0xff;
        state = crc64_table[index] ^ (state >> 8);
    }
    return state;
}

// Moving a 128-bit block `bits` further up the message multiplies it by x^bits. A carry-less
// product of two reflected 64-bit values comes out multiplied by x once more, hence the -1.
struct FoldConstants {
    alignas(16) std::array<std::uint64_t, 2> of;  // For the block's low and high half.
};
template <unsigned bits>
constexpr FoldConstants fold_by{{power_of_x(bits + 63), power_of_x(bits - 1)}};

constexpr std::size_t lane_bytes = 16;
constexpr std::size_t lanes = 8;
constexpr std::size_t stripe_bytes = lanes * lane_bytes;

__attribute__((target("pclmul,sse4.1"), always_inline)) inline __m128i fold(__m128i block,
                                                                            __m128i constants,
                                                                            __m128i next) noexcept {
    const __m128i low = _mm_clmulepi64_si128(block, constants, 0x00);
    const __m128i high = _mm_clmulepi64_si128(block, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

__attribute__((target("pclmul,sse4.1"), always_inline)) inline __m128i load(
    const std::byte* from) noexcept {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// Folds stripes of 128 bytes in eight independent lanes, joins the lanes into one block that is
// congruent to everything read so far, and lets the table reduce that block and the tail.
__attribute__((target("pclmul,sse4.1"))) std::uint64_t crc64_by_folding(
    const std::byte* data, std::size_t size, std::uint64_t state) noexcept {
    CW_ASSERT(size >= stripe_bytes);
    const __m128i by_stripe =
        _mm_load_si128(reinterpret_cast<const __m128i*>(fold_by<stripe_bytes * 8>.of.data()));
    const __m128i by_lane =
        _mm_load_si128(reinterpret_cast<const __m128i*>(fold_by<lane_bytes * 8>.of.data()));

    __m128i lane[lanes];
    for (std::size_t i = 0; i < lanes; ++i) {
        lane[i] = load(data + i * lane_bytes);
    }
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi64_si128(static_cast<long long>(state)));
    data += stripe_bytes;
    size -= stripe_bytes;
    for (; size >= stripe_bytes; data += stripe_bytes, size -= stripe_bytes) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < lanes; ++i) {
            lane[i] = fold(lane[i], by_stripe, load(data + i * lane_bytes));
        }
    }
    __m128i block = lane[0];
    for (std::size_t i = 1; i < lanes; ++i) {
        block = fold(block, by_lane, lane[i]);
    }
    for (; size >= lane_bytes; data += lane_bytes, size -= lane_bytes) {
        block = fold(block, by_lane, load(data));
    }
    std::array<std::byte, lane_bytes> rest;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), block);
    return crc64_by_table(data, size, crc64_by_table(rest.data(), rest.size(), 0));
}

const bool can_fold = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");

}  // namespace

std::uint32_t crc32c(Bytes bytes, std::uint32_t seed) noexcept {
    // ISA-L works on the bare register: the inversions at both ends are ours. It does not write to
    // the buffer and takes an int for the length.
    constexpr std::size_t step_max = 1U << 30;
    std::uint32_t state = ~seed;
    while (!bytes.empty()) {
        const std::size_t n = std::min(bytes.size(), step_max);
        auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
        state = crc32_iscsi(data, static_cast<int>(n), state);
        bytes = bytes.subspan(n);
    }
    return ~state;
}

std::uint64_t crc64nvme(Bytes bytes, std::uint64_t seed) noexcept {
    if (can_fold && bytes.size() >= stripe_bytes) {
        return ~crc64_by_folding(bytes.data(), bytes.size(), ~seed);
    }
    return ~crc64_by_table(bytes.data(), bytes.size(), ~seed);
}

std::uint64_t crc64nvme_portable(Bytes bytes, std::uint64_t seed) noexcept {
    return ~crc64_by_table(bytes.data(), bytes.size(), ~seed);
}

Fingerprint fingerprint(Bytes block, const FingerprintSecret& secret) noexcept {
    static_assert(fingerprint_secret_bytes >= XXH3_SECRET_SIZE_MIN);
    const XXH128_hash_t hash =
        XXH3_128bits_withSecret_dispatch(block.data(), block.size(), secret.data(), secret.size());
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    static_assert(sizeof canonical.digest == sizeof(Fingerprint));
    Fingerprint out;
    std::memcpy(out.data(), canonical.digest, out.size());
    return out;
}

bool all_zero(Bytes bytes) noexcept {
    if (bytes.empty()) {
        return true;
    }
    // Most data is not zero at its first byte: ask there before the scan.
    return bytes.front() == std::byte{0} &&
           isal_zero_detect(const_cast<std::byte*>(bytes.data()), bytes.size()) == 0;
}

}  // namespace cw
