#include "pipeline/compressor.h"

#include "base/random.h"
#include "tests/pipeline/rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr CodecChoice choices[] = {{Codec::lz4, 1},   {Codec::lz4, 8},  {Codec::zstd, -5},
                                   {Codec::zstd, -1}, {Codec::zstd, 1}, {Codec::zstd, 3}};

TEST(Compressor, RoundTripsEveryCodecAtEverySize) {
    Compressor compressor;
    ByteVector packed(compress_bound(chunk_bytes_max)), out(chunk_bytes_max);
    for (const CodecChoice& choice : choices) {
        for (const std::size_t size : {512UL, 4096UL, 65'536UL + 512, 1024UL * 1024}) {
            const ByteVector raw = text_like(size, size);
            const auto outcome = compressor.compress(raw, choice, packed);
            ASSERT_EQ(outcome.codec, choice.codec) << size;
            EXPECT_LT(outcome.bytes, size);
            const MutableBytes target(out.data(), size);
            ASSERT_TRUE(
                compressor.decompress(outcome.codec, Bytes(packed).first(outcome.bytes), target));
            EXPECT_TRUE(std::ranges::equal(target, raw));
        }
    }
}

TEST(Compressor, LeavesDataRawThatDoesNotShrinkByThreePercent) {
    Compressor compressor;
    ByteVector packed(compress_bound(chunk_bytes_max));
    ByteVector raw = noise(2048, 1);  // Below the probe's minimum: the codec itself decides.
    for (const CodecChoice& choice : choices) {
        EXPECT_EQ(compressor.compress(raw, choice, packed).codec, Codec::none);
    }
    std::ranges::fill(std::span(raw).last(30), std::byte{0});  // Saves about 1 %.
    EXPECT_EQ(compressor.compress(raw, {Codec::zstd, 1}, packed).codec, Codec::none);
    std::ranges::fill(std::span(raw).last(400), std::byte{0});
    EXPECT_EQ(compressor.compress(raw, {Codec::zstd, 1}, packed).codec, Codec::zstd);
}

TEST(Compressor, ProbeTellsNoiseFromData) {
    EXPECT_TRUE(looks_incompressible(noise(chunk_bytes_max, 2)));
    EXPECT_TRUE(looks_incompressible(noise(64 * 1024, 3)));
    EXPECT_FALSE(looks_incompressible(text_like(chunk_bytes_max, 4)));
    EXPECT_FALSE(looks_incompressible(noise(64 * 1024 - 512, 5)));  // Too short to judge.
    EXPECT_FALSE(looks_incompressible(ByteVector(chunk_bytes_max)));
    ByteVector half = noise(chunk_bytes_max, 6);
    std::ranges::fill(std::span(half).first(chunk_bytes_max / 2), std::byte{0});
    EXPECT_FALSE(looks_incompressible(half));
}

TEST(Compressor, NeverWritesBeyondTheAuthenticatedLength) {
    Compressor compressor;
    ByteVector packed(compress_bound(chunk_bytes_max));
    const ByteVector raw = text_like(64 * 1024, 9);
    for (const CodecChoice& choice : choices) {
        const auto outcome = compressor.compress(raw, choice, packed);
        const Bytes stored = Bytes(packed).first(outcome.bytes);
        ByteVector out(raw.size() + 64, std::byte{0xee});
        // The index says less than the data holds: an error, and nothing behind is touched.
        const auto capped =
            compressor.decompress(outcome.codec, stored, MutableBytes(out).first(1024));
        ASSERT_FALSE(capped);
        EXPECT_EQ(capped.error().code, Errc::object_corrupt);
        EXPECT_TRUE(std::ranges::all_of(std::span(out).subspan(1024),
                                        [](std::byte b) { return b == std::byte{0xee}; }));
        // It says more: also an error.
        EXPECT_FALSE(compressor.decompress(outcome.codec, stored, out));
    }
}

TEST(Compressor, StaysWithinTheMemoryItAnnouncesAtEveryLevel) {
    ByteVector packed(compress_bound(chunk_bytes_max));
    const ByteVector raw = text_like(chunk_bytes_max, 1);
    for (const int level : {-7, 3, 6, 8, 12, 19}) {  // Where the announced size steps up.
        Compressor compressor;
        compressor.compress(raw, {Codec::zstd, level}, packed);
        EXPECT_LE(compressor.memory_bytes(), compressor_bytes(level)) << level;
    }
}

// What unpacks to more than was declared: a thousandfold, and one byte.
TEST(Compressor, H2_ABombUnpacksToNoMoreThanWasDeclared) {
    Compressor compressor;
    const ByteVector zeros(chunk_bytes_max);
    ByteVector packed(compress_bound(zeros.size())), out(zeros.size(), std::byte{0xee});
    for (const CodecChoice& choice : {CodecChoice{Codec::lz4, 1}, CodecChoice{Codec::zstd, 1}}) {
        const std::size_t bytes = compressor.compress(zeros, choice, packed).bytes;
        ASSERT_GT(bytes, 0U);
        ASSERT_LT(bytes, zeros.size() / 100);
        for (const std::size_t declared : {zeros.size() / 1000, zeros.size() - 1}) {
            std::ranges::fill(out, std::byte{0xee});
            const auto done = compressor.decompress(choice.codec, Bytes(packed).first(bytes),
                                                    MutableBytes(out).first(declared));
            ASSERT_FALSE(done);
            EXPECT_EQ(done.error().code, Errc::object_corrupt);
            EXPECT_TRUE(std::ranges::all_of(MutableBytes(out).subspan(declared),
                                            [](std::byte b) { return b == std::byte{0xee}; }));
        }
    }
}

TEST(Compressor, H2_SurvivesHostileBytes) {
    Compressor compressor;
    const auto random = make_seeded_random(11);
    ByteVector packed(compress_bound(chunk_bytes_max)), out(64 * 1024);
    const ByteVector raw = text_like(out.size(), 12);
    for (const CodecChoice& choice : {CodecChoice{Codec::lz4, 1}, CodecChoice{Codec::zstd, 1}}) {
        const std::size_t bytes = compressor.compress(raw, choice, packed).bytes;
        for (int i = 0; i < 500; ++i) {
            ByteVector bad(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(bytes));
            bad[random->below(bytes)] ^= static_cast<std::byte>(1 + random->below(255));
            bad.resize(1 + random->below(bytes));
            (void)compressor.decompress(choice.codec, bad, out);  // Any answer, but no crash.
        }
    }
    for (const Codec codec : {Codec::none, Codec::zero, Codec::discard}) {
        EXPECT_FALSE(compressor.decompress(codec, Bytes(packed).first(100), out));
    }
}

}  // namespace
}  // namespace cw::pipeline
