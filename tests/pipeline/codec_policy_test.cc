#include "pipeline/codec_policy.h"

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr CodecPressure compute_behind{.compute_bytes = 65 * mib, .uplink_bytes = 0};
constexpr CodecPressure uplink_behind{.compute_bytes = 0, .uplink_bytes = 65 * mib};
constexpr CodecPressure quiet{};

void observe(CodecPolicy& policy, const CodecPressure& pressure, int times) {
    for (int i = 0; i < times; ++i) {
        policy.observe(pressure);
    }
}

TEST(CodecPolicy, StartsAtZstdOne) {
    const CodecPolicy policy({});
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 1}));
}

TEST(CodecPolicy, GivesUpRatioWhenComputeIsBehind) {
    CodecPolicy policy({});
    observe(policy, compute_behind, 4);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, -1}));
    observe(policy, compute_behind, 100);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::lz4, 1}));
}

TEST(CodecPolicy, SpendsCoresWhenTheUplinkIsBehindEvenIfComputeIsToo) {
    CodecPolicy policy({});
    observe(policy, {.compute_bytes = 65 * mib, .uplink_bytes = 65 * mib}, 100);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 3}));
}

TEST(CodecPolicy, IgnoresBurstsShorterThanItsPatience) {
    CodecPolicy policy({});
    for (int i = 0; i < 50; ++i) {
        observe(policy, compute_behind, 3);
        observe(policy, uplink_behind, 3);
    }
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 1}));
}

TEST(CodecPolicy, FollowsWhatSegmentsWaitedForWhenNoQueueIsLong) {
    CodecPolicy policy({});
    observe(policy, {.compute_wait_ns = 10, .uplink_wait_ns = 21}, 4);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 3}));
    observe(policy, {.compute_wait_ns = 21, .uplink_wait_ns = 10}, 12);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::lz4, 1}));
    // Less than twice as long is balance: the usual level comes back.
    observe(policy, {.compute_wait_ns = 20, .uplink_wait_ns = 10}, 100);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 1}));
}

TEST(CodecPolicy, ComesBackSlowlyWhenNothingIsBehind) {
    CodecPolicy policy({});
    observe(policy, compute_behind, 8);
    ASSERT_EQ(policy.choice(), (CodecChoice{Codec::lz4, 1}));
    observe(policy, quiet, 15);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::lz4, 1}));
    observe(policy, quiet, 1);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, -1}));
    observe(policy, quiet, 100);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 1}));
}

TEST(CodecPolicy, ObeysAFixedModeWhateverThePressure) {
    CodecPolicy policy({.mode = CompressionMode::zstd, .zstd_level = 3});
    observe(policy, compute_behind, 100);
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 3}));
    policy.reconfigure({.mode = CompressionMode::zstd, .zstd_level = 0});
    EXPECT_EQ(policy.choice(), (CodecChoice{Codec::zstd, 3}));
    policy.reconfigure({.mode = CompressionMode::lz4});
    EXPECT_EQ(policy.choice().codec, Codec::lz4);
    policy.reconfigure({.mode = CompressionMode::off});
    EXPECT_EQ(policy.choice().codec, Codec::none);
}

TEST(CodecPolicy, ParsesExactlyTheDocumentedWords) {
    EXPECT_EQ(parse_compression("auto"), CompressionMode::automatic);
    EXPECT_EQ(parse_compression("lz4"), CompressionMode::lz4);
    EXPECT_EQ(parse_compression("zstd"), CompressionMode::zstd);
    EXPECT_EQ(parse_compression("off"), CompressionMode::off);
    const auto unknown = parse_compression("gzip");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, Errc::config_invalid);
}

}  // namespace
}  // namespace cw::pipeline
