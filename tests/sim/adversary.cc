#include "tests/sim/adversary.h"

#include "agent/session/retry_policy.h"
#include "egress/vault/names.h"
#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

using blob::BlobName;
using blob::Container;

constexpr std::array all_containers{Container::data, Container::manifest, Container::keys,
                                    Container::control};
constexpr int tamperings = 4;
constexpr std::size_t rounds_to_meet = 40'000, rounds_after_it = 100;
// An agent may have found nobody for so long that its pauses are the longest there are.
constexpr std::int64_t time_to_meet_ns =
    (agent::RetryPolicy::pauses_s.back() * 6 / 5 + 180) * ns_per_s;

std::vector<Machine*> distinct(World& world) {
    std::vector<Machine*> out;
    for (const auto& machine : world.machines) {
        if (std::ranges::none_of(out, [&](Machine* m) { return m->id() == machine->id(); })) {
            out.push_back(machine.get());
        }
    }
    return out;
}

}  // namespace

Adversary::Adversary(World& world) : world_(world), oracle_(world.oracles->tampering) {}

void Adversary::watch() {
    if (!old_ && world_.random->below(6) == 0) {
        world_.event("the account is copied");
        old_ = world_.vault.copy();
    }
}

void Adversary::put_back(const fakes::MemoryVault::Copy& copy) {
    for (const Container container : all_containers) {
        world_.vault.put_back(copy, container);
    }
}

void Adversary::tamper() {
    for (const auto& server : world_.servers) {
        server->pause(1'000'000 * ns_per_s);
    }
    const auto store = world_.readers->make();
    for (const Machine* machine : distinct(world_)) {
        const auto catalog = recovery::Catalog::open(*store, *world_.kek, machine->id(), {});
        if (!catalog) {
            world_.violated("tampering", "before it: " + to_string(catalog.error()));
            return;
        }
        oracle_.know(*catalog);
    }
    const fakes::MemoryVault::Copy whole = world_.vault.copy();
    for (int n = 0; n < tamperings && !world_.violation; ++n) {
        const auto harm = static_cast<Harm>(world_.random->below(6));
        const auto done = strike(harm);
        if (done) {
            world_.event("tampered: " + done->text());
            world_.trace.count("fault.tampered");
            world_.trace.count("fault.tampered." + std::string(blob::name_of(done->container)) +
                               "." + std::string(name_of(done->harm)));
            look(*done);
        }
        put_back(whole);
    }
    for (const auto& server : world_.servers) {
        server->pause(0);
    }
}

std::optional<Tampering> Adversary::strike(Harm harm) {
    if (harm == Harm::restored) {
        return restore();
    }
    if (harm != Harm::rewound) {
        return touch(harm, all_containers.at(world_.random->below(all_containers.size())));
    }
    const auto machines = distinct(world_);
    const MachineId& machine = machines[world_.random->below(machines.size())]->id();
    const std::uint64_t newest = oracle_.newest(machine).number;
    if (newest < 2) {
        return std::nullopt;
    }
    Tampering done =
        rewind(machine, newest - world_.random->below(std::min<std::uint64_t>(newest - 1, 3)));
    take_back_notes(machine);
    return done;
}

// First which container: there are many segments, and one note of the newest manifest.
std::optional<Tampering> Adversary::touch(Harm harm, Container container) {
    std::vector<BlobName> names = world_.vault.names();
    std::erase_if(names, [&](const BlobName& name) { return name.container != container; });
    if (names.empty()) {
        return std::nullopt;
    }
    Tampering done{.harm = harm, .container = container, .victims = {}};
    const BlobName& victim = names[world_.random->below(names.size())];
    const BlobName& other = names[world_.random->below(names.size())];
    done.victims.push_back(victim);
    switch (harm) {
        case Harm::erased:
            world_.vault.erase(victim);
            return done;
        case Harm::flipped:
            world_.vault.flip_bit(
                victim, world_.random->next_u64() % (world_.vault.bytes(victim)->size() * 8));
            return done;
        case Harm::swapped:
            done.victims.push_back(other);
            return victim != other && world_.vault.swap(victim, other) ? std::optional(done)
                                                                       : std::nullopt;
        default:
            return world_.vault.roll_back(victim) ? std::optional(done) : std::nullopt;
    }
}

std::optional<Tampering> Adversary::restore() {
    if (!old_) {
        return std::nullopt;
    }
    Tampering done{.harm = Harm::restored, .container = Container::manifest, .victims = {}};
    if (world_.random->below(2) == 0) {
        put_back(*old_);
    } else {  // What was written since is all there, and nothing leads to it.
        world_.vault.put_back(*old_, Container::manifest);
        world_.vault.put_back(*old_, Container::control);
    }
    return done;
}

Tampering Adversary::rewind(const MachineId& machine, std::uint64_t from) {
    Tampering done{.harm = Harm::rewound, .container = Container::manifest, .victims = {}};
    for (const BlobName& name : world_.vault.names()) {
        const auto number = vault::parse_manifest_number(name);
        if (name.container == Container::manifest && number && *number >= from &&
            name.name.starts_with(vault::manifest_prefix(machine))) {
            done.victims.push_back(name);
        }
    }
    for (const BlobName& name : done.victims) {
        world_.vault.erase(name);
    }
    return done;
}

bool Adversary::take_back_notes(const MachineId& machine) {
    switch (world_.random->below(3)) {
        case 0:
            return false;
        case 1:
            while (world_.vault.roll_back(vault::head_blob(machine))) {
            }
            return true;
        default:
            world_.vault.erase(vault::head_blob(machine));
            world_.vault.erase(vault::gc_boundary_blob(machine));
            return true;
    }
}

void Adversary::look(const Tampering& tampering) {
    const auto store = world_.readers->make();
    for (Machine* machine : distinct(world_)) {
        const auto catalog = recovery::Catalog::open(
            *store, *world_.kek, machine->id(),
            {.witness = oracle_.newest(machine->id()), .accept_stale = false});
        oracle_.on_open(tampering, machine->id(), catalog);
        if (catalog && tampering.touches(machine->id())) {
            for (const vault::PointEntry* point : catalog->points()) {
                if (world_.violation) {
                    return;
                }
                oracle_.on_read(tampering, world_.oracles->points.readable(
                                               *store, *catalog, point->id, machine->points()));
            }
        }
        if (tampering.harm == Harm::rewound || tampering.harm == Harm::restored) {
            look_without_witness(*machine);
        }
    }
}

// Nobody is left who could know better: what he shows must still have been there once.
void Adversary::look_without_witness(Machine& machine) {
    const auto store = world_.readers->make();
    const auto catalog = recovery::Catalog::open(*store, *world_.kek, machine.id(), {});
    if (!catalog) {
        world_.trace.count("seen.rewinding_told_without_witness",
                           catalog.error().code == Errc::vault_rolled_back ? 1 : 0);
        return;
    }
    world_.oracles->points.verify_tampered(*store, *catalog, machine.points());
}

std::map<BlobName, ByteVector> Adversary::kept_of(const MachineId& machine) const {
    std::map<BlobName, ByteVector> out;
    const std::string id = to_string(machine);
    for (const BlobName& name : world_.vault.names()) {
        const bool kept =
            name.container == Container::manifest || name.container == Container::keys;
        if (kept && name.name.find(id) != std::string::npos) {
            out.emplace(name, *world_.vault.bytes(name));
        }
    }
    return out;
}

std::optional<Tampering> Adversary::choose_for_servers(Machine& machine) {
    const BlobName keys = vault::machine_keys_blob(machine.id());
    const std::uint64_t seen = machine.replicator()->witness().first;
    switch (world_.random->below(6)) {
        case 0:
            world_.vault.erase(keys);
            return Tampering{.harm = Harm::erased, .container = keys.container, .victims = {keys}};
        case 1:
            world_.vault.flip_bit(keys, world_.random->below(world_.vault.bytes(keys)->size() * 8));
            return Tampering{.harm = Harm::flipped, .container = keys.container, .victims = {keys}};
        case 2: {
            const BlobName head = vault::head_blob(machine.id());
            world_.vault.erase(head);
            return Tampering{.harm = Harm::erased, .container = head.container, .victims = {head}};
        }
        case 3:  // The notes stay: a server that was not there knows it by them.
            return rewind(machine.id(), seen - world_.random->below(2));
        default:
            return take_back(machine);
    }
}

std::optional<Tampering> Adversary::take_back(Machine& machine) {
    const std::uint64_t seen = machine.replicator()->witness().first;
    const auto is_there = [this](const BlobName& name) {
        return world_.vault.bytes(name).has_value();
    };
    std::optional<Tampering> done;
    if (world_.random->below(2) == 0) {
        done = rewind(machine.id(), seen - world_.random->below(std::min<std::uint64_t>(seen, 4)));
        done->unknown_there = take_back_notes(machine.id());
    } else if ((done = restore())) {
        if (is_there(vault::manifest_blob(machine.id(), seen))) {
            return std::nullopt;  // Nothing was committed since.
        }
        done->unknown_there = true;
    }
    world_.oracles->fencing.on_taken_back(is_there);
    world_.oracles->durability.on_taken_back();
    return done;
}

void Adversary::confront() {
    Machine& machine = *world_.machines[world_.random->below(world_.machines.size())];
    if (!machine.up() || machine.copied() || machine.replicator()->critical() != nullptr ||
        machine.replicator()->witness().first < 2) {
        return;
    }
    world_.oracles->spool.rest();  // The vault is no witness from here on.
    const bool outage = world_.random->below(2) == 0;
    if (outage) {
        fill_caches(machine);
    }
    const Known known{.told = machine.replicator()->witness(),
                      .committed = world_.oracles->fencing.committed_of(machine.id())};
    if (const auto done = choose_for_servers(machine)) {
        world_.event("servers meet: " + done->text());
        world_.trace.count("fault.met." + std::string(blob::name_of(done->container)) + "." +
                           std::string(name_of(done->harm)));
        world_.trace.count("fault.met.unknown_there", done->unknown_there ? 1 : 0);
        if (outage && done->unknown_there) {
            // Servers are the first, with enough to outgrow what is gone, and may remember nothing.
            world_.trace.count("fault.met.by_servers_first");
            machine.stop_cleanly();
            machine.start_in(static_cast<std::int64_t>(world_.random->below(30)) * ns_per_s);
            for (const auto& server : world_.servers) {
                if (world_.random->below(2) == 0) {
                    server->forget_witnesses();
                }
            }
        }
        meet(*done, machine, known);
    }
}

void Adversary::fill_caches(Machine& machine) {
    world_.vault.set_rates({.unavailable = 1.0});
    for (int points = 0; points < 3; ++points) {
        machine.write_some(3);
        machine.make_point();
        for (int n = 0; n < 100; ++n) {
            world_.round();
        }
    }
    for (const auto& server : world_.servers) {
        server->kill(false);
    }
    world_.vault.set_rates({});
}

void Adversary::meet(const Tampering& tampering, Machine& machine, const Known& known) {
    const auto before = kept_of(machine.id());
    machine.write_some(3);
    machine.make_point();
    for (const auto& server : world_.servers) {
        server->kill(false);
    }
    const Nanos until = world_.clock.boot() + time_to_meet_ns;
    const auto told = [&] { return machine.up() && machine.replicator()->critical() != nullptr; };
    // Of a vault that none of them can open: then no agent finds a server.
    const auto refused = [](const auto& server) {
        return server->start_refused() == Errc::key_unavailable;
    };
    const auto over = [&] { return told() || std::ranges::all_of(world_.servers, refused); };
    for (std::size_t n = 0;
         n < rounds_to_meet && world_.clock.boot() < until && !over() && !world_.violation; ++n) {
        world_.round(until);
    }
    for (std::size_t n = 0; n < rounds_after_it && !world_.violation; ++n) {
        world_.round();
    }
    std::vector<Errc> codes;
    for (const auto& server : world_.servers) {
        if (server->start_refused()) {
            codes.push_back(*server->start_refused());
        }
    }
    // What was on its way to the agent before may still have come.
    const auto genuine = [&](const auto& heard) {
        const auto found = known.committed.find(heard.first);
        return heard == known.told ||
               (heard.first > known.told.first && found != known.committed.end() &&
                found->second == heard.second);
    };
    if (machine.up() && !genuine(machine.replicator()->witness())) {
        world_.violated("tampering", tampering.text() + ": the agent was told of other commits");
    }
    if (told()) {
        codes.push_back(machine.replicator()->critical()->code);
    }
    std::vector<BlobName> written;
    for (const auto& [name, bytes] : kept_of(machine.id())) {
        const auto was = before.find(name);
        if (was == before.end() || was->second != bytes) {
            written.push_back(name);
        }
    }
    oracle_.on_met(tampering, written, codes);
}

}  // namespace cw::sim
