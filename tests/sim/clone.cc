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
    if (world.random->below(2) == 0) {
        from.stop_cleanly();
    } else {
        from.kill(true);
    }
    const std::size_t copy = world.machines.size();
    world.machines.push_back(std::make_unique<Machine>(world, copy, from));
    world.event("agent.clone", original, copy);
    world.trace.count("fault.agent_clone");
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
            for (const auto& machine : world.machines) {
                machine->kill(false);  // An agent that was refused waits for a person.
            }
        }
    }
}

}  // namespace cw::sim
