// TargetDigests: tells a resync which blocks a target holds already, so that only the others
// travel. The master target's counterpart of DigestService; part of the volume stage.
//
// What lies beneath a fence is compared, so an answer is given only once the target has taken that
// fence: everything before it is in overlay or redo log then, and what the redo log touches is
// unknown. Until then a request waits, at most wait_ns_max; after that, and whenever the target
// cannot be read, its blocks are unknown: unknown counts as different, and the resync sends them.
//
// Thread-safety: ask() from any thread; the rest belongs to the stage's.
#pragma once

#include "appliance/master_target/target_disk.h"
#include "base/clock.h"
#include "ingest/ports.h"

#include <deque>
#include <functional>
#include <mutex>

namespace cw::appliance {

class TargetDigests {
public:
    static constexpr std::int64_t wait_ns_max = 60 * ns_per_s;
    static constexpr std::uint32_t blocks_per_step = 256;  // 16 MiB are read.

    // False: no room now, tried again; `reply` is untouched then.
    using Send = std::function<bool(std::uint32_t reactor, ingest::DigestReply& reply)>;
    using Find = std::function<TargetDisk*(const MachineId&, const DiskId&)>;

    // The clock outlives it.
    TargetDigests(Clock& clock, Send send, FingerprintSecret secret)
        : clock_(clock), send_(std::move(send)), secret_(secret) {}

    // Each request gets one reply; sessions bound how many are under way.
    void ask(const ingest::DigestRequest& request);
    // One piece of one request, and what has become ready is sent. True: something was done.
    bool step(const Find& find);
    [[nodiscard]] Nanos next_deadline() const;

private:
    struct Work {
        ingest::DigestRequest request;
        Nanos deadline{};
        ingest::DigestReply reply{};
    };
    enum class Outcome : std::uint8_t { waits, worked, complete };

    Outcome work_on(Work& work, TargetDisk* target);
    bool send_ready();

    Clock& clock_;
    Send send_;
    const FingerprintSecret secret_;
    std::mutex mutex_;
    std::deque<ingest::DigestRequest> asked_;  // With mutex_.
    std::deque<Work> waiting_;
    std::deque<std::pair<std::uint32_t, ingest::DigestReply>> ready_;
};

}  // namespace cw::appliance
