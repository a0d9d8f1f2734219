#include "tests/sim/clone.h"

#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace cw::sim {
namespace {

// The copy itself, of a machine that is up or was brought down for it.
void add_copy(World& world, std::size_t original, const char* how) {
    const std::size_t copy = world.machines.size();
    world.machines.push_back(std::make_unique<Machine>(world, copy, *world.machines[original]));
    if (world.random->below(4) == 0) {
        world.machines[copy]->aim_at(world.random->below(world.servers.size()));
    }
    world.event("agent.clone", original, copy);
    world.trace.count("fault.agent_clone");
    world.trace.count(how);
    world.machines_were_cloned = true;
}

bool has_copy_or_is_down(const Machine& machine) {
    return machine.copied() || !machine.up();
}

}  // namespace

bool clone_server(World& world, std::size_t original) {
    Server& from = *world.servers[original];
    // With damage in the cache it is open what the copy owes.
    if (world.servers.size() > world.settings.servers || !from.up() || from.damaged()) {
        return false;
    }
    const std::size_t copy = world.servers.size();
    world.servers.push_back(std::make_unique<Server>(world, copy, from));
    world.oracles->durability.on_cloned(original, copy);
    world.event("server.clone", original, copy);
    world.trace.count("fault.server_clone");
    for (const auto& machine : world.machines) {
        if (machine->server() == original && world.random->below(2) == 0) {
            machine->aim_at(copy);
        }
    }
    return true;
}

bool clone_machine(World& world, std::size_t original) {
    Machine& from = *world.machines[original];
    if (has_copy_or_is_down(from)) {
        return false;
    }
    const char* how = "fault.agent_clone_running";
    switch (world.random->below(4)) {
        case 0:
            from.stop_cleanly();
            how = "fault.agent_clone_stopped";
            break;
        case 1:
            from.kill(true);
            how = "fault.agent_clone_off";
            break;
        case 2:  // With the memory of its kernel, which is what makes its dirty map good.
            from.kill(false);
            how = "fault.agent_clone_killed";
            break;
        default:
            break;
    }
    add_copy(world, original, how);
    return true;
}

bool clone_at_rest(World& world, std::size_t original) {
    Machine& from = *world.machines[original];
    if (has_copy_or_is_down(from)) {
        return false;
    }
    from.stop_cleanly();
    add_copy(world, original, "fault.agent_clone_at_rest");
    return true;
}

CopyTurns::CopyTurns(World& world, std::size_t first, std::size_t second)
    : world_(world), now_(first), next_(second) {
    if (world.random->below(2) == 0) {  // It was started once where there is no network.
        Machine& machine = *world.machines[first];
        machine.start_in(0);
        machine.tend();
        machine.kill(false);
        std::swap(now_, next_);
    }
    begin();
}

void CopyTurns::begin() {
    constexpr std::int64_t never = 1'000'000 * ns_per_s;
    Random& random = *world_.random;
    const std::uint64_t most_ms = random.below(3) == 0 ? 200 : 10'000;
    const auto length = static_cast<std::int64_t>(random.below(most_ms)) * ns_per_ms;
    half_ = world_.clock.boot() + length / 2;
    until_ = world_.clock.boot() + length;
    world_.machines[next_]->start_in(never);
    Machine& machine = *world_.machines[now_];
    machine.start_in(0);
    machine.tend();
    machine.write_some(1 + random.below(4));
    world_.trace.count("fault.agent_clone_turn");
}

void CopyTurns::tend() {
    const Nanos now = world_.clock.boot();
    Machine& machine = *world_.machines[now_];
    if (half_ && now >= *half_ && machine.up()) {
        half_.reset();
        machine.make_point();
    }
    if (now < until_ || world_.calm()) {
        return;
    }
    world_.random->below(3) == 0 ? machine.stop_cleanly() : machine.kill(false);
    world_.machines[next_]->kill(false);  // An agent that lost its state has started by itself.
    std::swap(now_, next_);
    begin();
}

void end_clones(World& world) {
    for (std::size_t i = 0; i < world.machines.size(); ++i) {
        if (world.machines[i]->copied()) {
            // One of them, either one; what remains has no copy any more.
            const auto same = [&](const auto& other) {
                return other->id() == world.machines[i]->id();
            };
            std::vector<std::size_t> both;
            for (std::size_t at = 0; at < world.machines.size(); ++at) {
                if (same(world.machines[at])) {
                    both.push_back(at);
                }
            }
            const std::size_t gone = both[world.random->below(both.size())];
            world.event("agent.clone_gone", gone);
            world.machines.erase(world.machines.begin() + static_cast<std::ptrdiff_t>(gone));
            // An agent that was refused waits for a person, and a server refuses both until it has
            // heard of neither for a while.
            for (const auto& machine : world.machines) {
                machine->kill(false);
                machine->start_in(601 * ns_per_s);
            }
        }
    }
}

}  // namespace cw::sim
