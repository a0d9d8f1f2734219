// Maintenance: the vault's housekeeping of the machines this server owns. Every interval it decides
// which recovery points go (by each machine's retention, groups together), which segments nothing
// needs any more and which are worth writing again, and posts that as a decision to the publisher,
// who alone changes a chain. Under an identity that may delete it then collects the garbage.
//
// On a thread and on stores of its own: reading chains and indexes may take long, and nothing else
// waits for it. Everything it decides it decides anew each time, so losing a round costs nothing.
// A machine of which nothing is due is not even looked at: a thousand idle ones cost no request.
//
// Thread-safety: set_retention() from any thread. Lifetime: what Ports names outlives it.
#pragma once

#include "appliance/retention_table.h"
#include "base/conditions.h"
#include "base/disk.h"
#include "base/random.h"
#include "egress/upload/ports.h"
#include "recovery/gc.h"
#include "recovery/space.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace cw::appliance {

// Runs one collection with what is remembered in the file `path`, and remembers again, unless it is
// a dry run. Two at a time need two files. Errors: those of collect_garbage(); io_error.
Result<recovery::GcReport> collect_and_remember(blob::BlobStore& store, vault::KeyService& kek,
                                                const vault::ServerSigner& signer,
                                                const MachineId& machine, Disk& disk,
                                                const std::string& path,
                                                const recovery::GcOptions& options, WallMicros now);

// A machine whose chain is written here, and its newest manifest as far as is known (0: it is not).
struct OwnedChain {
    MachineId machine;
    std::uint64_t number = 0;
};

class Maintenance {
public:
    struct Ports {
        Clock& clock;
        Random& random;
        Disk& disk;  // For small files; nobody else uses it.
        Conditions& conditions;
        blob::StoreFactory& stores;
        blob::StoreFactory* gc_stores = nullptr;  // Null: this server never deletes.
        vault::KeyService& kek;
        const vault::ServerSigner& signer;
        std::function<std::vector<OwnedChain>()> owned;
        std::function<void(upload::PruneCommand)> prune;
        std::string state_dir;
    };
    struct Options {
        std::int64_t interval_ns = 600 * ns_per_s;
        RetentionTable retention;
        std::int64_t grace_us = recovery::GcOptions{}.grace_us;
        std::uint64_t rewrite_bytes_max = 512 * mib;  // Per machine and round.
    };
    Maintenance(Ports ports, const Options& options);
    ~Maintenance();  // stop()s.
    Maintenance(const Maintenance&) = delete;
    Maintenance& operator=(const Maintenance&) = delete;

    void start();  // Once.
    void stop();   // Ends at the next request to the store. Idempotent.
    void set_retention(RetentionTable retention);
    // One round, on the caller's thread. For tests; not while the thread runs.
    void run_once();

private:
    // What was found of a machine, true until somebody writes its next manifest.
    struct Findings {
        std::uint64_t read = 0;  // The newest manifest when `points` were read,
        std::vector<vault::PointEntry> points;
        std::uint64_t tidy = 0;       // when there was nothing to drop or to write again,
        std::uint64_t collected = 0;  // and when garbage was collected.
        Nanos collect_again{};        // There may be more by then, whoever wrote it.
        recovery::SpaceMemory space;
    };

    void run();
    [[nodiscard]] RetentionTable retention();
    void forget_others(const std::vector<OwnedChain>& chains);
    std::map<MachineId, std::vector<PointId>> decide_points(const std::vector<OwnedChain>& chains);
    Result<void> read_points(const OwnedChain& chain);
    Result<void> look_after(const OwnedChain& chain, const std::vector<PointId>& pruned);
    Result<void> tidy(const MachineId& machine, const std::vector<PointId>& pruned);
    Result<void> rewrite(const recovery::Catalog& catalog, recovery::Fetcher& fetcher,
                         const recovery::SpacePlan& plan, upload::PruneCommand& command);
    Result<void> collect(const OwnedChain& chain);
    void report(const MachineId& machine, const char* what, const Result<void>& result);

    Ports ports_;
    Options options_;
    std::unique_ptr<blob::BlobStore> store_, gc_store_;
    std::map<MachineId, Findings> found_;
    std::map<MachineId, Error> troubles_;
    std::mutex mutex_;
    RetentionTable retention_;  // With mutex_.
    std::condition_variable wake_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace cw::appliance
