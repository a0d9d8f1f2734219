#include "tests/sim/world.h"

#include "base/assert.h"
#include "tests/sim/clone.h"
#include "tests/sim/events.h"
#include "tests/sim/group.h"
#include "tests/sim/machine.h"
#include "tests/sim/mutant_parts.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>
#include <map>
#include <utility>

namespace cw::sim {
namespace {

constexpr int depth_max = 3;

}  // namespace

World::World(const Settings& wanted, Mutant planted, bool print)
    : settings(wanted),
      mutant(planted),
      trace(print),
      random(make_seeded_random(wanted.seed)),
      vault(clock, {.seed = wanted.seed * 3 + 1,
                    .shuffle = true,
                    .latency_ns_max = wanted.blob_latency_ns,
                    .late_ns = wanted.blob_late_ns,
                    .page_entries = 50,
                    .on_wait = [this](std::int64_t ns) { wait_for_store(ns); }}),
      keys_random(make_seeded_random(wanted.seed * 5 + 2)),
      kek(fakes::make_test_kek("sim", kek_random(planted, *keys_random))),
      network(clock, *random,
              {.latency_ns_max = wanted.latency_ns_max, .dribble_bytes = wanted.dribble_bytes}),
      oracles(std::make_unique<Oracles>(*this)),
      readers(
          make_process_stores(vault.factory(), readers_life, *oracles, mutant_of_tools(planted))) {
    const auto store = vault.factory()->make();
    depth_ = depth_max;  // Nobody else is there yet.
    const auto made = vault::create_vault(*store, *kek, *keys_random);
    CW_ASSERT(made.has_value());
    depth_ = 0;
    identity = *made;
    if (settings.worm) {
        vault.set_worm(blob::Container::data, 20 * ns_per_s);
        vault.set_worm(blob::Container::manifest, 20 * ns_per_s);
    }
    vault.set_rates(settings.blob);
    for (std::size_t i = 0; i < settings.servers; ++i) {
        servers.push_back(std::make_unique<Server>(*this, i));
    }
    for (std::size_t i = 0; i < settings.machines; ++i) {
        machines.push_back(std::make_unique<Machine>(*this, i));
    }
    if (settings.group) {
        group = std::make_unique<Group>(*this);
    }
}

World::~World() {
    depth_ = depth_max;
    group.reset();
    machines.clear();
    servers.clear();
}

void World::violated(std::string oracle, std::string what) {
    event("VIOLATION " + oracle + ": " + what);
    if (!violation) {
        violation = Violation{std::move(oracle), std::move(what)};
    }
}

void World::end_faults() {
    event("faults end");
    calm_ = true;
    end_clones(*this);
    vault.set_rates({});
    vault.end_leases();
    vault.land_late();
    network.calm();
    for (const auto& server : servers) {
        server->end_faults();
    }
    for (const auto& machine : machines) {
        machine->end_faults();
    }
}

// Somebody blocks on the store: everybody else goes on meanwhile.
void World::wait_for_store(std::int64_t timeout_ns) {
    if (depth_ >= depth_max) {
        clock.advance(std::clamp<std::int64_t>(timeout_ns, ns_per_ms, 20 * ns_per_ms));
        return;
    }
    const Nanos until = clock.boot() + std::max<std::int64_t>(timeout_ns, ns_per_ms);
    ++depth_;
    if (meanwhile && depth_ == 1) {
        meanwhile();
    }
    round(std::min(until, vault.next_event_after(clock.boot()).value_or(until)));
    --depth_;
}

// Of those who sleep, whose bell has been rung.
void World::add_rung(std::vector<Turn>& turns) {
    for (const auto& server : servers) {
        if (!server->awake()) {
            continue;
        }
        for (const auto& runner : server->process()->runners()) {
            if (runner->parked() && !runner->running() && event_is_set(runner->doorbell().fd())) {
                turns.push_back({.server = server.get(), .runner = runner.get(), .rung = true});
            }
        }
    }
}

Nanos World::look_around(std::vector<Turn>& turns) {
    const Nanos now = clock.boot();
    Nanos soonest{INT64_MAX};
    for (const auto& server : servers) {
        if (!server->awake()) {
            continue;
        }
        for (const auto& runner : server->process()->runners()) {
            if (runner->running()) {
                continue;
            }
            const Nanos due = runner->parked() ? runner->wakes_at() : now;
            if (due <= now) {
                turns.push_back({.server = server.get(), .runner = runner.get()});
            }
            soonest = std::min(soonest, due);
        }
    }
    for (const auto& machine : machines) {
        if (!machine->up()) {
            continue;
        }
        const Nanos due = machine->wakes_at();
        if (due <= now) {
            turns.push_back({.machine = machine.get()});
        }
        soonest = std::min(soonest, due);
    }
    return soonest;
}

std::optional<Nanos> World::turn_all() {
    std::vector<Turn>& turns = turns_.at(static_cast<std::size_t>(depth_));
    turns.clear();
    if (std::exchange(bells_may_ring_, false)) {
        add_rung(turns);
    }
    const Nanos soonest = look_around(turns);
    if (turns.empty()) {
        return soonest;
    }
    bool worked = false;
    for (std::size_t left = turns.size(); left > 0; --left) {
        std::swap(turns[random->below(left)], turns[left - 1]);
        const Turn turn = turns[left - 1];
        if (turn.machine != nullptr) {
            worked |= turn.machine->step();
        } else if (turn.server->awake()) {
            worked |= turn.runner->step(turn.rung);
            turn.server->strike();
            oracles->idle.on_turn(turn.runner->name(), turn.runner->spins());
        }
    }
    bells_may_ring_ |= worked;
    if (worked) {
        return std::nullopt;
    }
    turns.clear();
    return look_around(turns);  // Whoever had a turn sleeps again.
}

void World::advance_time(Nanos until) {
    Nanos next = std::min(until, clock.boot() + 60 * ns_per_s);
    // Who is down comes back at the top level only: nobody waits for that below it.
    const auto later = [this](Nanos due) {
        return due > clock.boot() ? due : depth_ == 0 ? clock.boot() : Nanos{INT64_MAX};
    };
    for (const auto& server : servers) {
        next = std::min(next, later(server->awake() ? server->cut_at() : server->wakes_at()));
    }
    for (const auto& machine : machines) {
        if (!machine->up()) {
            next = std::min(next, later(machine->wakes_at()));
        }
    }
    // Devices are slow, too: what is due at once takes a moment.
    clock.advance(std::max<std::int64_t>(next - clock.boot(), 100 * ns_per_us));
}

void World::round(Nanos until) {
    ++rounds_;
    if (depth_ == 0) {
        for (const auto& server : servers) {
            server->tend();
        }
        for (const auto& machine : machines) {
            machine->tend();
        }
        network.forget_dead();
    }
    if (const auto asleep = turn_all()) {
        advance_time(std::min(until, *asleep));
    } else {
        clock.advance(static_cast<std::int64_t>(random->below(100)) * ns_per_us);
    }
}

LentPool& pool_for(std::size_t server, std::string_view kind, std::size_t count,
                   std::size_t count_max) {
    CW_ASSERT(count <= count_max);
    static std::map<std::pair<std::size_t, std::string>, LentPool> pools;
    LentPool& lent = pools[{server, std::string(kind)}];
    if (!lent.pool) {
        lent.pool = pipeline::SlabPool::create(std::string(kind), count_max).value();
        lent.count = count_max;
    }
    CW_ASSERT(lent.pool->count() == count_max && lent.out() == 0);
    while (lent.count < count) {
        lent.kept_back.pop_back();
        ++lent.count;
    }
    while (lent.count > count) {
        lent.kept_back.push_back(lent.pool->try_take());
        --lent.count;
    }
    return lent;
}

}  // namespace cw::sim
