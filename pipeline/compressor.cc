#include "pipeline/compressor.h"

#include "base/assert.h"
#include "base/ids.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <lz4.h>
#include <zstd.h>

namespace cw::pipeline {
namespace {

constexpr std::size_t probe_samples = 8, probe_sample_bytes = 512;
// Below this the probe costs as much as LZ4 itself.
constexpr std::size_t probe_bytes_min = 64 * 1024;
// Random bytes sampled 8 x 512 times measure about 7.95 bits; compressed media a little less.
constexpr double probe_bits_min = 7.9;
// Worth storing compressed only if it saves at least 3 in 100.
constexpr std::size_t worth_numerator = 97, worth_denominator = 100;

// count * log2(count) for every count a probe can meet: no logarithm per byte value.
using EntropyTable = std::array<float, probe_samples * probe_sample_bytes + 1>;
const EntropyTable& entropy_table() {
    static const EntropyTable table = [] {
        EntropyTable t{};
        for (std::size_t i = 1; i < t.size(); ++i) {
            const auto x = static_cast<double>(i);
            t[i] = static_cast<float>(x * std::log2(x));
        }
        return t;
    }();
    return table;
}

}  // namespace

struct Compressor::State {
    struct FreeC {
        void operator()(ZSTD_CCtx* c) const noexcept { ZSTD_freeCCtx(c); }
    };
    struct FreeD {
        void operator()(ZSTD_DCtx* d) const noexcept { ZSTD_freeDCtx(d); }
    };
    std::unique_ptr<ZSTD_CCtx, FreeC> zstd_out{ZSTD_createCCtx()};
    std::unique_ptr<ZSTD_DCtx, FreeD> zstd_in{ZSTD_createDCtx()};
    std::unique_ptr<std::byte[]> lz4{
        std::make_unique<std::byte[]>(static_cast<std::size_t>(LZ4_sizeofState()))};
    int level = 0;  // What zstd_out is set to; 0: not yet.
};

std::size_t compress_bound(std::size_t raw_bytes) noexcept {
    CW_ASSERT(raw_bytes <= chunk_bytes_max);
    const auto lz4 = static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(raw_bytes)));
    return std::max(lz4, ZSTD_compressBound(raw_bytes));
}

// Measured with 1 MiB chunks, rounded up.
std::size_t compressor_bytes(int zstd_level) noexcept {
    CW_ASSERT(zstd_level >= zstd_level_min && zstd_level <= zstd_level_max);
    const std::size_t in_mib = zstd_level <= 3    ? 2
                               : zstd_level <= 6  ? 4
                               : zstd_level <= 8  ? 7
                               : zstd_level <= 12 ? 14
                                                  : 19;
    return in_mib * mib;
}

bool looks_incompressible(Bytes raw) noexcept {
    if (raw.size() < probe_bytes_min) {
        return false;
    }
    // Four histograms, so that equal neighbours do not wait for each other's increment.
    std::array<std::array<std::uint16_t, 256>, 4> counts{};
    const std::size_t stride = (raw.size() - probe_sample_bytes) / (probe_samples - 1);
    for (std::size_t sample = 0; sample < probe_samples; ++sample) {
        const Bytes at = raw.subspan(sample * stride, probe_sample_bytes);
        for (std::size_t i = 0; i < at.size(); i += 4) {
            ++counts[0][std::to_integer<std::size_t>(at[i])];
            ++counts[1][std::to_integer<std::size_t>(at[i + 1])];
            ++counts[2][std::to_integer<std::size_t>(at[i + 2])];
            ++counts[3][std::to_integer<std::size_t>(at[i + 3])];
        }
    }
    const EntropyTable& table = entropy_table();
    float sum = 0;
    for (std::size_t value = 0; value < 256; ++value) {
        const std::size_t count =
            std::size_t{counts[0][value]} + counts[1][value] + counts[2][value] + counts[3][value];
        sum += table[count];
    }
    constexpr double total = probe_samples * probe_sample_bytes;
    return std::log2(total) - double{sum} / total > probe_bits_min;
}

Compressor::Compressor() : state_(std::make_unique<State>()) {
    CW_ASSERT(state_->zstd_out && state_->zstd_in);
}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

std::size_t Compressor::memory_bytes() const noexcept {
    return ZSTD_sizeof_CCtx(state_->zstd_out.get()) + ZSTD_sizeof_DCtx(state_->zstd_in.get()) +
           static_cast<std::size_t>(LZ4_sizeofState());
}

Compressor::Outcome Compressor::compress(Bytes raw, const CodecChoice& choice, MutableBytes out) {
    CW_ASSERT(!raw.empty() && raw.size() <= chunk_bytes_max);
    CW_ASSERT(out.size() >= compress_bound(raw.size()));
    if (choice.codec == Codec::none || looks_incompressible(raw)) {
        return {};
    }
    std::size_t bytes = 0;
    if (choice.codec == Codec::lz4) {
        CW_ASSERT(choice.level >= 1 && choice.level <= lz4_acceleration_max);
        const int got = LZ4_compress_fast_extState(
            state_->lz4.get(), reinterpret_cast<const char*>(raw.data()),
            reinterpret_cast<char*>(out.data()), static_cast<int>(raw.size()),
            static_cast<int>(out.size()), choice.level);
        CW_ASSERT(got > 0);
        bytes = static_cast<std::size_t>(got);
    } else {
        CW_ASSERT(choice.codec == Codec::zstd && choice.level != 0);
        CW_ASSERT(choice.level >= zstd_level_min && choice.level <= zstd_level_max);
        if (state_->level != choice.level) {
            const std::size_t set = ZSTD_CCtx_setParameter(state_->zstd_out.get(),
                                                           ZSTD_c_compressionLevel, choice.level);
            CW_ASSERT(!ZSTD_isError(set));
            state_->level = choice.level;
        }
        bytes =
            ZSTD_compress2(state_->zstd_out.get(), out.data(), out.size(), raw.data(), raw.size());
        CW_ASSERT(!ZSTD_isError(bytes));
    }
    if (bytes * worth_denominator > raw.size() * worth_numerator) {
        return {};
    }
    return {.codec = choice.codec, .bytes = bytes};
}

Result<void> Compressor::decompress(Codec codec, Bytes stored, MutableBytes raw) {
    std::size_t bytes = 0;
    switch (codec) {
        case Codec::none:
            if (stored.size() == raw.size()) {
                std::copy(stored.begin(), stored.end(), raw.begin());
                bytes = raw.size();
            }
            break;
        case Codec::lz4:
            if (stored.size() <= compress_bound(chunk_bytes_max) && raw.size() <= chunk_bytes_max) {
                const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()),
                                                    reinterpret_cast<char*>(raw.data()),
                                                    static_cast<int>(stored.size()),
                                                    static_cast<int>(raw.size()));
                bytes = got > 0 ? static_cast<std::size_t>(got) : 0;
            }
            break;
        case Codec::zstd: {
            const std::size_t got = ZSTD_decompressDCtx(state_->zstd_in.get(), raw.data(),
                                                        raw.size(), stored.data(), stored.size());
            bytes = ZSTD_isError(got) ? 0 : got;
            break;
        }
        case Codec::zero:
        case Codec::discard:
            break;  // No bytes are stored of these: whoever asks has a corrupt index.
    }
    if (bytes != raw.size() || raw.empty()) {
        return fail(Errc::object_corrupt, "a chunk does not decompress to its length of " +
                                              std::to_string(raw.size()) + " bytes");
    }
    return {};
}

}  // namespace cw::pipeline
