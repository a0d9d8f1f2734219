// All oracles of a schedule, and what tells them.
#pragma once

#include "tests/sim/oracles/durability.h"
#include "tests/sim/oracles/groups.h"
#include "tests/sim/oracles/keys.h"
#include "tests/sim/oracles/leaks.h"
#include "tests/sim/oracles/points.h"
#include "tests/sim/oracles/resources.h"
#include "tests/sim/oracles/rest.h"
#include "tests/sim/oracles/seals.h"
#include "tests/sim/oracles/spool.h"
#include "tests/sim/oracles/tampering.h"
#include "tests/sim/oracles/writing.h"
#include "tests/sim/store.h"

namespace cw::sim {

class World;
class Machine;

struct Oracles final : StoreWatcher {
    explicit Oracles(World& world);

    void on_put(const blob::PutRequest& request) override;
    void on_stored(const blob::BlobName& name) override;
    void on_remove(const blob::BlobName& name) override;
    void on_removed(const blob::BlobName& name) override;
    void on_got(const blob::BlobName& name, bool by_etag) override;
    void on_committed(std::size_t server, const pipeline::Committed& committed);
    // The engine answers who wants the machine.
    void on_answered(std::size_t server, const pipeline::MachineOpened& opened);
    void on_recovered(std::size_t server, const cache::Spool& spool);
    // Reads the vault as anyone with the keys would; all of it with `again`.
    void verify(bool again, bool may_fail);
    // What the vault offers as points of the group is a moment of all its machines.
    void verify_groups(bool may_fail);
    // The newest point of the machine, as it is now, is in the vault.
    void check_newest(Machine& machine);
    // After the last garbage collection: nothing named is gone, nothing that nobody needs is left.
    void check_vault();
    // When all is still.
    void check_resources();
    // And whatever can be thrown away has been.
    void check_rest();
    // Into the world's counts, as "promise.…".
    void add_counts() const;

    // What the vault has of a history at this moment.
    [[nodiscard]] std::optional<Seq> committed_in_vault(const pipeline::StreamKey& key) const;

    World& world;
    std::uint64_t segments_stored = 0, manifests_stored = 0;
    std::uint64_t runs_stored = 0, runs_read = 0, runs_removed = 0, read_back = 0;
    DurabilityOracle durability;
    PointOracle points;
    NonceOracle nonces;
    FencingOracle fencing;
    CreditOracle credit;
    MemoryOracle memory;
    GcOracle gc;
    SpoolOracle spool;
    LeakOracle leaks;
    SealOracle seals;
    TamperOracle tampering;
    GroupOracle groups;
    KeyOracle keys;
    ConvergenceOracle convergence;
    IdleOracle idle;
    ConditionOracle condition;
};

}  // namespace cw::sim
