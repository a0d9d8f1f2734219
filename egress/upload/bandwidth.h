// Bandwidth: a token bucket for all uploads together, with a limit that follows the weekday and
// hour.
//
// A segment may start when the bucket is not in debt, and then takes its whole size: the mean keeps
// to the limit exactly, whatever the size of a segment, and a live change takes effect at once.
// Thread-safety: none.
#pragma once

#include "egress/upload/options.h"

namespace cw::upload {

// The limit in force at `wall`, bytes per second; 0: none.
std::uint64_t limit_at(const BandwidthOptions& options, WallMicros wall);

class Bandwidth {
public:
    explicit Bandwidth(BandwidthOptions options) : options_(std::move(options)) {}
    void set(BandwidthOptions options) { options_ = std::move(options); }

    // Call before asking; moves the bucket to `now`.
    void advance(Nanos now, WallMicros wall);
    [[nodiscard]] bool may_start() const noexcept { return limit_ == 0 || debt_bytes_ <= 0; }
    void started(std::uint64_t bytes) noexcept;
    // When may_start() turns true; `now` if it is.
    [[nodiscard]] Nanos ready_at(Nanos now) const noexcept;
    [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }

private:
    BandwidthOptions options_;
    std::uint64_t limit_ = 0;
    double debt_bytes_ = 0;  // Negative: saved up, at most burst_s seconds' worth.
    Nanos last_{};
};

}  // namespace cw::upload
