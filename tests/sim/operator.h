// Operator: everybody who does something to the world that is not replication: faults, people,
// retention, garbage collection. The adversary is another one (adversary.h).
#pragma once

#include "egress/upload/ports.h"
#include "recovery/gc.h"
#include "recovery/space.h"
#include "tests/sim/clone.h"
#include "tests/sim/store.h"

#include <map>
#include <optional>
#include <set>
#include <vector>

namespace cw::sim {

class World;
class Machine;

class Operator {
public:
    explicit Operator(World& world);

    // Each class of disturbance, at its rate.
    void disturb();
    // When a segment has just been stored, now and then its writer falls asleep before it can name
    // it, for longer than the collector's grace. Some die as soon as they have named it.
    void after_round();
    // While somebody reads: retention, upkeep or garbage collection now and then.
    void keep_house();
    // Garbage collection until nothing is left to collect; what remains must be named.
    void collect_everything();
    // What a store that only fails now and then may answer, and one from which things are deleted
    // while one reads; anything else is a finding.
    [[nodiscard]] static bool transient(const Error& error);

private:
    void disturb_network();
    void disturb_servers();
    void disturb_machines();
    void disturb_clocks();
    void take_lease();
    void take_over(Machine& machine);
    void collect(Machine& machine, std::int64_t grace_us);
    void collect_while_asleep();
    void prune(Machine& machine);
    // Points that are too old, segments that nobody sees without them, and some written anew.
    Result<upload::PruneCommand> decide(blob::BlobStore& store, const Machine& machine);
    void count_retired(const recovery::Catalog& catalog);
    void rotate(Machine& machine);
    void rotate_kek();
    bool wrap_anew(vault::KeyService& next);
    void check_old_kek();

    World& world_;
    std::uint64_t segments_seen_ = 0, manifests_seen_ = 0;
    std::uint64_t keks_ = 0;              // Of the vault, made since the first.
    bool taken_over_ = false;             // A machine, by now.
    bool to_kill_ = false;                // All servers, with the next manifest.
    std::optional<std::size_t> to_copy_;  // This machine, once it can be shut down at rest.
    std::optional<CopyTurns> turns_;
    ProcessLife life_;  // Of the collector and planner; they do not die.
    std::unique_ptr<blob::StoreFactory> stores_;
    vault::ServerSigner signer_;
    std::map<MachineId, recovery::GcMemory> gc_memory_;
    std::map<MachineId, recovery::SpaceMemory> space_memory_;
    std::set<std::pair<DiskId, Generation>> retired_;  // Seen so by whoever decides.
};

}  // namespace cw::sim
