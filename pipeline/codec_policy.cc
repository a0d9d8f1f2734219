#include "pipeline/codec_policy.h"

#include "base/assert.h"

#include <array>

namespace cw::pipeline {
namespace {

// From most speed to most ratio. zstd -5 is left out: on a disk image it costs what LZ4 costs and
// gains nothing; so is zstd 2.
constexpr std::array ladder{
    CodecChoice{Codec::lz4, 1},
    CodecChoice{Codec::zstd, -1},
    CodecChoice{Codec::zstd, 1},
    CodecChoice{Codec::zstd, 3},
};
constexpr std::size_t first_rung = 2;
constexpr std::uint32_t quiet_factor = 4;
constexpr std::int64_t wait_factor = 2;  // Less than twice as long is balance.
constexpr int zstd_default_level = 3;

}  // namespace

Result<CompressionMode> parse_compression(std::string_view text) {
    if (text == "auto") {
        return CompressionMode::automatic;
    }
    if (text == "lz4") {
        return CompressionMode::lz4;
    }
    if (text == "zstd") {
        return CompressionMode::zstd;
    }
    if (text == "off") {
        return CompressionMode::off;
    }
    return fail(Errc::config_invalid,
                "compression '" + std::string(text) + "' is none of auto, lz4, zstd, off");
}

CodecPolicy::CodecPolicy(const CodecPolicyOptions& options) : options_(options), rung_(first_rung) {
    reconfigure(options);
}

void CodecPolicy::reconfigure(const CodecPolicyOptions& options) {
    CW_ASSERT(options.patience >= 1);
    CW_ASSERT(options.zstd_level >= zstd_level_min && options.zstd_level <= zstd_level_max);
    options_ = options;
    if (options_.zstd_level == 0) {
        options_.zstd_level = zstd_default_level;
    }
    streak_ = 0;
    quiet_ = 0;
}

void CodecPolicy::observe(const CodecPressure& pressure) noexcept {
    if (options_.mode != CompressionMode::automatic) {
        return;
    }
    const std::int64_t compute_ns = pressure.compute_wait_ns, uplink_ns = pressure.uplink_wait_ns;
    const bool compute_behind = pressure.compute_bytes > options_.compute_high_bytes ||
                                compute_ns > wait_factor * uplink_ns;
    const bool uplink_behind =
        pressure.uplink_bytes > options_.uplink_high_bytes || uplink_ns > wait_factor * compute_ns;
    // Both behind: the uplink decides, because a better ratio is the only thing that relieves it,
    // and compute is waiting for its slabs anyway.
    if (uplink_behind) {
        streak_ = streak_ > 0 ? streak_ + 1 : 1;
    } else if (compute_behind) {
        streak_ = streak_ < 0 ? streak_ - 1 : -1;
    } else {
        streak_ = 0;
        drift_home();
        return;
    }
    quiet_ = 0;
    const auto patience = static_cast<int>(options_.patience);
    if (streak_ >= patience) {
        rung_ = rung_ + 1 < ladder.size() ? rung_ + 1 : rung_;
        streak_ = 0;
    } else if (streak_ <= -patience) {
        rung_ = rung_ > 0 ? rung_ - 1 : 0;
        streak_ = 0;
    }
}

// With nothing behind, the usual level comes back, more slowly than it was left: the peak that
// drove it away tends to return.
void CodecPolicy::drift_home() noexcept {
    if (rung_ == first_rung || ++quiet_ < options_.patience * quiet_factor) {
        return;
    }
    quiet_ = 0;
    rung_ = rung_ < first_rung ? rung_ + 1 : rung_ - 1;
}

CodecChoice CodecPolicy::choice() const noexcept {
    switch (options_.mode) {
        case CompressionMode::automatic:
            return ladder[rung_];
        case CompressionMode::lz4:
            return {.codec = Codec::lz4, .level = 1};
        case CompressionMode::zstd:
            return {.codec = Codec::zstd, .level = options_.zstd_level};
        case CompressionMode::off:
            return {.codec = Codec::none, .level = 0};
    }
    return {};
}

}  // namespace cw::pipeline
