// World: what all actors of one schedule share: time, the vault, the network, chance, the trace,
// and those who watch. Everything is drawn from one seed.
// Thread-safety: none; one world per thread.
#pragma once

#include "base/clock.h"
#include "egress/vault/keys.h"
#include "tests/fakes/memory_vault.h"
#include "tests/sim/mutants.h"
#include "tests/sim/network.h"
#include "tests/sim/oracles/watch.h"
#include "tests/sim/settings.h"
#include "tests/sim/store.h"
#include "tests/sim/trace.h"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cw::sim {

class Process;
class SimRunner;
class Server;
class Machine;
class Group;
struct Oracles;

// Why a schedule fails.
struct Violation {
    std::string oracle, what;
};

class World {
public:
    World(const Settings& wanted, Mutant planted, bool print);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    // One turn for everybody who is awake, in random order; if nobody is, time moves on to the next
    // thing that will happen, but never beyond `until`.
    void round(Nanos until = Nanos{INT64_MAX});
    void violated(std::string oracle, std::string what);
    void event(std::string_view what, std::uint64_t a = 0, std::uint64_t b = 0) {
        bells_may_ring_ = true;
        trace.event(raw(clock.boot()), what, a, b);
    }
    bool hit(std::uint32_t per_10000) {
        return per_10000 != 0 && random->below(10'000) < per_10000;
    }
    [[nodiscard]] std::uint64_t rounds() const noexcept { return rounds_; }
    // Somebody outside of a turn has done something.
    void bells_may_ring() noexcept { bells_may_ring_ = true; }
    // From here on nothing fails any more.
    void end_faults();
    [[nodiscard]] bool calm() const noexcept { return calm_; }

    Settings settings;
    const Mutant mutant;
    Trace trace;
    ManualClock clock;
    std::unique_ptr<Random> random;
    fakes::MemoryVault vault;
    std::unique_ptr<Random> keys_random;
    std::unique_ptr<vault::KeyService> kek;
    // `next` is the vault's key from now on. All servers are down.
    void retire_kek(std::unique_ptr<vault::KeyService> next) {
        old_keks_.push_back(std::exchange(kek, std::move(next)));
    }
    [[nodiscard]] vault::KeyService& old_kek() { return *old_keks_.back(); }
    vault::VaultIdentity identity;
    Network network;
    std::unique_ptr<Oracles> oracles;
    ProcessLife readers_life;
    std::unique_ptr<blob::StoreFactory> readers;  // What people who only look have.
    std::vector<std::unique_ptr<Server>> servers;
    std::vector<std::unique_ptr<Machine>> machines;
    bool machines_were_cloned = false;
    std::size_t servers_lost = 0;  // And replaced.
    // Somebody else's turn whenever who blocks on the store at the top level waits. May be empty.
    std::function<void()> meanwhile;
    std::unique_ptr<Group> group;  // None in most schedules.
    std::optional<Violation> violation;

private:
    // Somebody who is to have a turn.
    struct Turn {
        Server* server = nullptr;
        SimRunner* runner = nullptr;
        Machine* machine = nullptr;
        bool rung = false;
    };
    void add_rung(std::vector<Turn>& turns);
    void wait_for_store(std::int64_t timeout_ns);
    // Who is awake, into `turns`; when the first of those who sleep wakes.
    Nanos look_around(std::vector<Turn>& turns);
    // nullopt: somebody worked; else when the first of them wakes.
    std::optional<Nanos> turn_all();
    void advance_time(Nanos until);
    std::vector<std::unique_ptr<vault::KeyService>> old_keks_;  // Of processes that end.
    std::uint64_t rounds_ = 0;
    bool calm_ = false;
    bool bells_may_ring_ = true;  // Somebody did something since they were looked at.
    int depth_ = 0;               // Of blocking calls on the stack.
    // Reused from one turn to the next; `turns_` by depth.
    std::array<std::vector<Turn>, 4> turns_;
};

// A slab pool lives as long as the program and is lent to one process after the other: all slabs
// must have come home in between. One serves every schedule, whatever size it draws, or the memory
// of all sizes would be held: what is too much is kept back.
struct LentPool {
    std::unique_ptr<pipeline::SlabPool> pool;
    std::vector<pipeline::Slab> kept_back;
    std::size_t count = 0;
    [[nodiscard]] std::size_t out() const noexcept { return count - pool->free_count(); }
};
// `count` is at most `count_max`, which is the same whenever this kind is asked for.
LentPool& pool_for(std::size_t server, std::string_view kind, std::size_t count,
                   std::size_t count_max);

}  // namespace cw::sim
