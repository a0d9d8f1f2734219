// Lanes: which finished segment goes on the wire next, and whose sealed segment gets the next job.
//
// A machine has at most upload_threads_per_vm segments on the wire, all machines together at most
// total_connections, and fewer while the store throttles (additive increase, multiplicative
// decrease). Among machines with work: the one whose deadline is nearest, where all that are late
// count alike (else one backlog would starve everyone); then the one with the fewest lanes in use;
// then the one that has been served least. An idle machine holds nothing.
// Thread-safety: none.
#pragma once

#include "egress/upload/bandwidth.h"
#include "egress/upload/segment_work.h"

#include <deque>
#include <map>

namespace cw::upload {

// One machine's claim to be served next.
struct Claim {
    Nanos deadline{};          // Of its oldest work.
    std::uint32_t in_use = 0;  // Jobs or lanes it has now.
    std::uint64_t served = 0;  // Bytes or segments it had so far.
};
// True if `a` is to be served before `b` at `now`.
bool goes_first(const Claim& a, const Claim& b, Nanos now) noexcept;

class Lanes {
public:
    Lanes(const LaneOptions& options, BandwidthOptions bandwidth);

    void set(const LaneOptions& options);  // Asserts the ranges.
    void set_bandwidth(BandwidthOptions options) { bandwidth_.set(std::move(options)); }

    // `work` is ready; it stays in place until it was taken, or removed.
    void add(SegmentWork& work);
    void remove(const SegmentWork& work);  // Nothing happens if it does not wait.
    // The next segment to send, or null: nothing is ready, or a limit is reached.
    SegmentWork* take(Nanos now, WallMicros wall);
    void finished(const MachineId& machine, bool throttled);

    // When take() may succeed without anything else happening.
    [[nodiscard]] Nanos next_start(Nanos now) const;
    [[nodiscard]] std::uint32_t in_use() const noexcept { return in_use_; }
    [[nodiscard]] std::uint32_t in_use(const MachineId& machine) const;
    [[nodiscard]] std::uint32_t waiting(const MachineId& machine) const;
    [[nodiscard]] std::uint64_t waiting_bytes() const noexcept { return waiting_bytes_; }
    [[nodiscard]] const LaneOptions& options() const noexcept { return options_; }
    [[nodiscard]] std::uint64_t bandwidth_limit() const noexcept { return bandwidth_.limit(); }
    // How fast each segment on the wire may be sent so that all together keep the limit; 0: none.
    [[nodiscard]] std::uint64_t pace() const noexcept;
    // What total_connections is right now, after the store's throttling.
    [[nodiscard]] std::uint32_t allowed() const noexcept;

private:
    struct Machine {
        std::deque<SegmentWork*> ready;  // Oldest first.
        std::uint32_t in_use = 0;
        std::uint64_t served = 0;
    };
    LaneOptions options_;
    Bandwidth bandwidth_;
    double window_;                          // AIMD, 1..total_connections.
    std::map<MachineId, Machine> machines_;  // Only those with work.
    std::uint32_t in_use_ = 0;
    std::uint64_t waiting_bytes_ = 0;
    std::uint64_t served_floor_ = 0;  // What a machine that comes back starts from.
};

}  // namespace cw::upload
