// DigestDesk: tells a resync which blocks of a disk the vault holds already, so that only the
// others travel. What DigestService does, without its thread: the simulator drives it too.
//
// What lies beneath a fence is compared, so an answer is given only from a committed state that has
// that fence open: everything written before it is in the vault then. Compared with an older state,
// a block could look the same while a write that is still in the cache was about to change it.
// Until then a request waits, at most wait_ns_max; after that, and whenever the vault cannot be
// read, the blocks are unknown: unknown counts as different, and the resync sends them.
//
// Thread-safety: none; the store's thread. Lifetime: what Ports names outlives it.
#pragma once

#include "base/clock.h"
#include "egress/blob/store.h"
#include "egress/upload/status.h"
#include "egress/vault/keys.h"
#include "ingest/ports.h"
#include "recovery/block_digests.h"

#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <utility>

namespace cw::appliance {

class DigestDesk {
public:
    static constexpr std::int64_t wait_ns_max = 60 * ns_per_s;
    // While something waits, step() is worth calling again after so long.
    static constexpr std::int64_t retry_ns = 100 * ns_per_ms;
    static std::uint64_t bytes_max() noexcept;  // What all tables together take at most.

    struct Ports {
        Clock& clock;
        blob::BlobStore& store;
        vault::KeyService& kek;
        // The fence that the disk's newest manifest has open; 0: none. Cheap.
        std::function<Seq(const MachineId&, const DiskId&)> open_fence;
        // False: no room now, tried again; `reply` is untouched then.
        std::function<bool(std::uint32_t reactor, ingest::DigestReply& reply)> reply;
        std::function<bool()> stopping;  // Nobody waits for an answer any more.
    };
    explicit DigestDesk(Ports ports) : ports_(std::move(ports)) {}

    // Each request gets one reply; sessions bound how many are under way. Its wait begins now.
    void take(const ingest::DigestRequest& request);
    // Answers what can be answered, and sends what there is room for. Blocks while it reads the
    // vault; take() is not called meanwhile. True if anything moved: more may be possible at once.
    bool step();
    // Nothing waits, for the vault or for room.
    [[nodiscard]] bool idle() const noexcept { return waiting_.empty() && replies_.empty(); }

private:
    struct Waiting {
        ingest::DigestRequest request;
        Nanos deadline{};
    };
    // A stretch of one disk beneath one fence.
    struct Table {
        MachineId machine;
        DiskId disk;
        Generation generation{};
        Seq fence{};
        recovery::BlockRange range;
        std::optional<recovery::BlockDigests> digests;  // None: could not be read.
    };

    bool answer_some();
    bool send_some();
    // nullopt: not yet.
    std::optional<ingest::DigestReply> answer(const Waiting& waiting);
    const Table* find(const ingest::DigestRequest& request);
    // nullptr: the vault does not have the fence.
    Result<const Table*> load(const ingest::DigestRequest& request);

    Ports ports_;
    std::deque<Waiting> waiting_;
    std::deque<std::pair<std::uint32_t, ingest::DigestReply>> replies_;
    std::list<Table> tables_;  // Last used first.
};

// The reply to `request` by `digests`, of which a part may lie in another range; nullptr: nothing
// is known.
ingest::DigestReply digest_reply(const ingest::DigestRequest& request,
                                 const recovery::BlockDigests* digests);
// The fence that the disk's newest manifest has open; 0: none.
Seq open_fence_in(const upload::EngineStatus& status, const MachineId& machine, const DiskId& disk);

}  // namespace cw::appliance
