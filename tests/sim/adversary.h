// Adversary: somebody with every right in the storage account, who wants damage to be believed. He
// erases, flips, swaps and rolls back objects of every container, takes the newest manifests away
// and puts the account back to an earlier day. He computes nothing with a key.
//
// He comes when all has converged: what is there then is known.
// Thread-safety: none. Lifetime: the world outlives it.
#pragma once

#include "tests/fakes/memory_vault.h"
#include "tests/sim/oracles/tampering.h"

#include <optional>

namespace cw::sim {

class World;
class Machine;

class Adversary {
public:
    explicit Adversary(World& world);

    // In the safety phase, now and then: keeps a copy of the account.
    void watch();
    // Tampers, has the vault read, and takes it back, several times. Nobody else is at work.
    void tamper();
    // Tampers once more, with what a server must not go on from, and lets all servers start anew.
    void confront();

private:
    std::optional<Tampering> strike(Harm harm);
    std::optional<Tampering> touch(Harm harm, blob::Container container);
    std::optional<Tampering> restore();
    // The agent has seen more than what is left; a server that was not there knows nothing of it.
    std::optional<Tampering> take_back(Machine& machine);
    // The manifests from `from` on.
    Tampering rewind(const MachineId& machine, std::uint64_t from);
    // The vault is out for a while: what the machine writes is in caches, and nowhere else.
    void fill_caches(Machine& machine);
    // What knows of them in the vault: all of it, some or none. False: all of it is left.
    bool take_back_notes(const MachineId& machine);
    std::optional<Tampering> choose_for_servers(Machine& machine);
    void look(const Tampering& tampering);
    void look_without_witness(Machine& machine);
    // Before anything was done to it.
    struct Known {
        std::pair<std::uint64_t, Sha256> told;  // The newest commit that the agent has heard of,
        std::map<std::uint64_t, Sha256> committed;  // and all by their numbers.
    };
    void meet(const Tampering& tampering, Machine& machine, const Known& known);
    // Its own, of `machine`, in the containers of what servers only ever add to.
    [[nodiscard]] std::map<blob::BlobName, ByteVector> kept_of(const MachineId& machine) const;
    void put_back(const fakes::MemoryVault::Copy& copy);

    World& world_;
    TamperOracle& oracle_;
    std::optional<fakes::MemoryVault::Copy> old_;
};

}  // namespace cw::sim
