// An object store in memory: deterministic from its seed, with scripted or seeded faults and an
// adversary. Unit tests and the simulator use it where production has Azure.
//
// Several stores (processes, in the simulator) share one vault. Conditions and locks are as
// exact as Azure's: the contract suite of tests/blob runs against it, so it cannot drift.
//
// Faults hit a request once, when it starts: scripted ones first, in order, then by rate. A put
// that was started may be applied at its start or at its completion, so that destroying a store
// with puts in flight (a crash) leaves some applied and some not.
//
// Thread-safe. Lifetime: the vault outlives its stores.
#pragma once

#include "base/random.h"
#include "egress/blob/store.h"

#include <array>
#include <deque>
#include <map>
#include <mutex>

namespace cw::fakes {

enum class BlobOp : std::uint8_t { put, get, head, list, remove };
inline constexpr std::size_t blob_op_count = 6;

enum class BlobFault : std::uint8_t {
    none,
    unavailable,   // Refused: certainly not applied; blob_unavailable.
    throttled,     // Refused: blob_throttled.
    denied,        // Refused: blob_auth, as an expired credential.
    lost_reply,    // Applied, but the caller hears `unknown` (blob_unavailable for other calls).
    lost_request,  // Not applied, and the caller hears `unknown`.
    late,          // Put: `unknown` now, applied `late_ns` later. Other calls: as lost_request.
};

struct BlobFaultRates {  // Probabilities of one request; the rest goes well.
    double unavailable = 0, throttled = 0, lost_reply = 0, lost_request = 0, late = 0;
};

struct MemoryVaultOptions {
    std::uint64_t seed = 1;
    bool shuffle = false;             // Complete what is due in random order.
    std::int64_t latency_ns_max = 0;  // Each request takes 0..max of boot time.
    std::int64_t late_ns = 60 * ns_per_s;
    std::int64_t list_lag_ns = 0;     // Younger objects are missing from lists.
    double applied_early = 0.5;       // Share of puts applied at their start.
    std::size_t page_entries = 1000;  // Of a list.
    // Runs inside a store's wait(): lets a test move its ManualClock instead of sleeping.
    std::function<void(std::int64_t timeout_ns)> on_wait = {};
};

class MemoryVault {
    struct Version {
        ByteVector bytes;
        blob::Metadata metadata;
        std::string etag;
    };
    struct Object {
        std::vector<Version> versions;  // Newest last; at most `versions_kept`.
        Nanos leased_until{0}, created{0};
        bool archived = false;
    };

public:
    // What was there once, with its versions.
    class Copy {
        friend class MemoryVault;
        std::map<blob::BlobName, Object> objects_;
    };

    MemoryVault(Clock& clock, MemoryVaultOptions options);

    // Makes stores of this vault.
    std::unique_ptr<blob::StoreFactory> factory();
    void create_containers();

    // Faults.
    void script(BlobOp op, BlobFault fault, std::size_t times = 1);
    void set_rates(const BlobFaultRates& rates);
    // Applies every late put now, whatever its time.
    void land_late();

    // The adversary. Each returns whether the object was there.
    bool erase(const blob::BlobName& name);
    bool flip_bit(const blob::BlobName& name, std::uint64_t bit);
    bool swap(const blob::BlobName& a, const blob::BlobName& b);  // Contents, not names.
    bool roll_back(const blob::BlobName& name);                   // To the version before.
    void drop_container(blob::Container container);
    [[nodiscard]] Copy copy() const;
    // What came to the container since is gone, and what went is back, locks or not. Leases end.
    void put_back(const Copy& copy, blob::Container container);

    // Somebody else holds a lease on the object until then, in boot time.
    bool lease(const blob::BlobName& name, Nanos until);
    void end_leases();

    // Objects of `container` cannot be overwritten or removed for `retention_ns` after creation.
    void set_worm(blob::Container container, std::int64_t retention_ns);
    bool set_archived(const blob::BlobName& name, bool archived);

    // What is really there, past all faults.
    [[nodiscard]] std::vector<blob::BlobName> names() const;
    [[nodiscard]] std::optional<ByteVector> bytes(const blob::BlobName& name) const;
    [[nodiscard]] std::uint64_t stored_bytes() const;
    [[nodiscard]] std::uint64_t requests(BlobOp op) const;
    [[nodiscard]] std::uint64_t faults(BlobFault fault) const;
    [[nodiscard]] std::uint64_t refused_by_leases() const;
    // When the next request completes or late put lands, for a simulator's clock.
    [[nodiscard]] std::optional<Nanos> next_event() const;
    // The first of them later than `now`: what is overdue waits for whoever asked for it.
    [[nodiscard]] std::optional<Nanos> next_event_after(Nanos now) const;

private:
    friend class MemoryStore;

    struct LatePut {
        Nanos due;
        blob::PutRequest request;
        ByteVector body;
    };

    BlobFault next_fault(BlobOp op);
    std::int64_t draw_latency_ns();
    bool draw(double probability);
    // And counts it.
    bool refuses_by_lease(const Object& object);
    void land_due(Nanos now);

    blob::PutResult put(const blob::PutRequest& request);
    void put_late(const blob::PutRequest& request);
    Result<blob::GetResult> get(const blob::GetRequest& request);
    Result<blob::BlobProperties> head(const blob::BlobName& name);
    Result<blob::ListPage> list(blob::Container container, const std::string& prefix,
                                const std::string& marker);
    Result<void> remove(const blob::BlobName& name);

    Result<Object*> find(const blob::BlobName& name);
    Result<void> require_container(blob::Container container) const;
    [[nodiscard]] bool locked(const blob::BlobName& name, const Object& object) const;

    Clock& clock_;
    MemoryVaultOptions options_;
    mutable std::recursive_mutex mutex_;  // Recursive: a landing late put is a put.
    std::unique_ptr<Random> random_;
    std::map<blob::BlobName, Object> objects_;
    std::array<bool, 4> containers_{};
    std::array<std::int64_t, 4> worm_ns_{};
    std::uint64_t next_etag_ = 1;
    std::array<std::deque<BlobFault>, blob_op_count> scripted_;
    BlobFaultRates rates_;
    std::deque<LatePut> late_;
    std::array<std::uint64_t, blob_op_count> requests_{};
    std::array<std::uint64_t, 7> faults_{};
    std::uint64_t refused_by_leases_ = 0;
    std::multimap<Nanos, const void*> due_;  // Completions of all stores, for next_event().
};

}  // namespace cw::fakes
