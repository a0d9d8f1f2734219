// DigestService: the thread of a DigestDesk, with a store of its own: reading indexes may take
// long, and nothing else waits for it.
//
// Thread-safety: ask() from any thread. Lifetime: what Ports names outlives it.
#pragma once

#include "appliance/digest_desk.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace cw::appliance {

class DigestService {
public:
    struct Ports {
        Clock& clock;
        blob::StoreFactory& stores;
        vault::KeyService& kek;
        // Those of DigestDesk, called on the service's thread.
        std::function<Seq(const MachineId&, const DiskId&)> open_fence;
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
    void run();

    Ports ports_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<ingest::DigestRequest> asked_;  // With mutex_.
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace cw::appliance
