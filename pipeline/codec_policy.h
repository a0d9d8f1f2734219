// CodecPolicy: which codec and level a segment gets when compression is "auto".
//
// The ladder runs from LZ4 to zstd 3. When compute is the bottleneck it steps towards LZ4, when the
// uplink is, towards zstd 3: spending idle cores to save bandwidth, and the reverse. It moves one
// rung after `patience` observations in a row agree, so that a burst does not make it swing, and
// drifts back to zstd 1 when nothing is behind.
// Thread-safety: none; owned by the stage that starts transforms. No clock of its own.
#pragma once

#include "pipeline/compressor.h"

#include <cstdint>
#include <string_view>

namespace cw::pipeline {

enum class CompressionMode : std::uint8_t { automatic, lz4, zstd, off };
// "auto", "lz4", "zstd", "off". Errors: config_invalid.
Result<CompressionMode> parse_compression(std::string_view text);

struct CodecPolicyOptions {
    CompressionMode mode = CompressionMode::automatic;
    int zstd_level = 1;                           // For mode zstd; 0 means 3, as in zstd itself.
    std::uint64_t compute_high_bytes = 64 * mib;  // More raw bytes waiting: compute is behind.
    std::uint64_t uplink_high_bytes = 64 * mib;   // More sealed bytes waiting: the uplink is.
    std::uint32_t patience = 4;
};

// What is waiting right now; and for what segments waited since the last observation. Where memory
// is small no queue grows long: then it is the time that tells who keeps whom waiting.
struct CodecPressure {
    std::uint64_t compute_bytes = 0;  // Raw bytes durable and not yet transformed.
    std::uint64_t uplink_bytes = 0;   // Sealed bytes for which no upload lane was free.
    // A segment waited for memory: while another was transformed, or while all of it was held by
    // sealed bytes on their way out.
    std::int64_t compute_wait_ns = 0, uplink_wait_ns = 0;
};

class CodecPolicy {
public:
    explicit CodecPolicy(const CodecPolicyOptions& options);
    // Once per segment, before choice(). Ignored unless automatic.
    void observe(const CodecPressure& pressure) noexcept;
    [[nodiscard]] CodecChoice choice() const noexcept;
    // Live change of mode or level; the rung of "auto" is kept.
    void reconfigure(const CodecPolicyOptions& options);

private:
    void drift_home() noexcept;

    CodecPolicyOptions options_;
    std::size_t rung_;
    int streak_ = 0;  // > 0: observations in a row asking for more ratio; < 0: for more speed.
    std::uint32_t quiet_ = 0;  // Observations in a row with nothing behind.
};

}  // namespace cw::pipeline
