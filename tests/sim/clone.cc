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

}  // namespace cw::sim
