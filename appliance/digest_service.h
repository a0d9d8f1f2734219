// DigestService: tells a resync which blocks of a disk the vault holds already, so that only the
// others travel. On a thread and a store of its own: reading indexes may take long, and nothing
// else waits for it.
//
// What lies beneath a fence is compared, so an answer is given only from a committed state that has
// that fence open: everything written before it is in the vault then. Compared with an older state,
// a block could look the same while a write that is still in the cache was about to change it.
// Until then a request waits, at most wait_ns_max; after that, and whenever the vault cannot be
// read, the blocks are unknown: unknown counts as different, and the resync sends them.
//
// Thread-safety: ask() from any thread. Lifetime: what Ports names outlives it.
#pragma once

#include "base/clock.h"
#include "egress/blob/store.h"
#include "egress/vault/keys.h"
#include "ingest/ports.h"
#include "recovery/block_digests.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace cw::appliance {

class DigestService {
public:
    static constexpr std::int64_t wait_ns_max = 60 * ns_per_s;
    static std::uint64_t bytes_max() noexcept;  // What all tables together take at most.

    struct Ports {
        Clock& clock;
        blob::StoreFactory& stores;
        vault::KeyService& kek;
        // The fence that the disk's newest manifest has open; 0: none. Any thread; cheap.
        std::function<Seq(const MachineId&, const DiskId&)> open_fence;
        // On the service's thread. False: no room now, tried again; `reply` is untouched then.
        std::function<bool(std::uint32_t reactor, ingest::DigestReply& reply)> reply;
    };
    explicit DigestService(Ports ports) : ports_(std::move(ports)) {}
    ~DigestService();  // stop()s.
    DigestService(const DigestService&) = delete;
    DigestService& operator=(const DigestService&) = delete;

    void start();  // Once.
    void stop();   // Unanswered requests are dropped. Idempotent.
    // Each request gets one reply; sessions bound how many are under way.
    void ask(const ingest::DigestRequest& request);

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

    void run();
    bool answer_some(blob::BlobStore& store);
    bool send_some();
    // nullopt: not yet.
    std::optional<ingest::DigestReply> answer(blob::BlobStore& store, const Waiting& waiting);
    const Table* find(const ingest::DigestRequest& request);
    // nullptr: the vault does not have the fence.
    Result<const Table*> load(blob::BlobStore& store, const ingest::DigestRequest& request);

    Ports ports_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<ingest::DigestRequest> asked_;  // With mutex_.
    std::atomic<bool> stopping_{false};
    std::deque<Waiting> waiting_;  // The rest is the thread's.
    std::deque<std::pair<std::uint32_t, ingest::DigestReply>> replies_;
    std::list<Table> tables_;  // Last used first.
    std::thread thread_;
};

}  // namespace cw::appliance
