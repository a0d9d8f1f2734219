#include "tests/sim/clone.h"

#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace cw::sim {

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
    if (from.copied() || !from.up()) {
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
    const std::size_t copy = world.machines.size();
    world.machines.push_back(std::make_unique<Machine>(world, copy, from));
    if (world.random->below(2) == 0) {
        world.machines[copy]->aim_at(world.random->below(world.servers.size()));
    }
    world.event("agent.clone", original, copy);
    world.trace.count("fault.agent_clone");
    world.trace.count(how);
    world.machines_were_cloned = true;
    return true;
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
                machine->rest(601 * ns_per_s);
            }
        }
    }
}

}  // namespace cw::sim
