#include "tests/sim/operator.h"

#include "tests/sim/clone.h"
#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <utility>
#include <vector>

namespace cw::sim {
namespace {

template <typename T>
T& any(World& world, std::vector<std::unique_ptr<T>>& all) {
    return *all[world.random->below(all.size())];
}

}  // namespace

Operator::Operator(World& world)
    : world_(world),
      stores_(make_process_stores(world.vault.factory(), life_, *world.oracles,
                                  mutant_of_tools(world.mutant))) {
    ServerId id;
    id.bytes.fill(std::byte{0x6c});
    const auto store = world.vault.factory()->make();
    world.vault.set_rates({});
    auto signer = vault::make_server_signer(*store, *world.kek, *world.keys_random, id);
    world.vault.set_rates(world.settings.blob);
    CW_ASSERT(signer.has_value());
    signer_ = std::move(*signer);
}

void Operator::disturb() {
    disturb_network();
    disturb_servers();
    disturb_machines();
    Machine& machine = any(world_, world_.machines);
    const Settings& s = world_.settings;
    if (world_.hit(s.collect * 5)) {
        collect(machine, s.gc_grace_us);
    }
    if (world_.hit(s.prune * 5)) {
        prune(machine);
    }
    if (world_.hit(s.rotate * 5)) {
        rotate(machine);
    }
    if (world_.hit(s.lease)) {
        take_lease();
    }
    if (world_.hit(s.rotate_kek)) {
        rotate_kek();
    }
    if (world_.hit(s.server_clone)) {
        clone_server(world_, world_.random->below(world_.servers.size()));
    }
    if (world_.hit(s.agent_clone)) {
        const std::uint64_t which = world_.random->below(world_.machines.size());
        if (world_.random->below(2) == 0) {
            clone_machine(world_, which);
        } else {
            to_copy_ = which;
        }
    }
    disturb_clocks();
}

void Operator::disturb_clocks() {
    const Settings& s = world_.settings;
    if (world_.hit(s.wall_jump * 5)) {
        const auto hours = static_cast<std::int64_t>(world_.random->below(72)) - 24;
        world_.clock.jump_wall(hours * 3600 * 1'000'000);
        world_.event("wall clock jumps", static_cast<std::uint64_t>(hours + 24));
        world_.trace.count("fault.wall_jump");
    }
    if (world_.hit(s.clocks_apart)) {
        constexpr std::int64_t years_us = 10LL * 365 * 24 * 3600 * 1'000'000,
                               day_us = years_us / 3650;
        const std::int64_t most = world_.random->below(2) == 0 ? years_us : day_us;
        const std::int64_t ahead =
            static_cast<std::int64_t>(world_.random->below(static_cast<std::uint64_t>(2 * most))) -
            most;
        const std::uint64_t whose = world_.random->below(2);
        whose == 0 ? any(world_, world_.servers).set_clock(ahead)
                   : any(world_, world_.machines).set_clock(ahead);
        world_.event("a wall clock is set", whose, static_cast<std::uint64_t>(ahead + most));
        world_.trace.count("fault.clocks_apart");
    }
}

void Operator::disturb_network() {
    const Settings& s = world_.settings;
    for (const auto& wire : world_.network.wires()) {
        if (wire->agent_gone || wire->server_gone) {
            continue;
        }
        if (world_.hit(s.cut)) {
            world_.network.cut(*wire);
            world_.event("network.cut", wire->machine);
            world_.trace.count("fault.cut");
        } else if (world_.hit(s.stale_session)) {
            world_.network.leave_stale(*wire);
            world_.event("network.stale", wire->machine);
            world_.trace.count("fault.stale_session");
        } else if (world_.hit(s.half_open)) {
            world_.network.half_open(*wire);
            world_.event("network.half_open", wire->machine);
            world_.trace.count("fault.half_open");
        }
    }
}

void Operator::disturb_servers() {
    const Settings& s = world_.settings;
    for (const auto& server : world_.servers) {
        const bool kill = world_.hit(s.server_kill);
        if (kill || world_.hit(s.server_power_cut)) {
            world_.random->below(8) == 0 ? server->kill(!kill) : server->kill_at_work(!kill);
        } else if (world_.hit(s.server_pause)) {
            server->pause(static_cast<std::int64_t>(world_.random->below(150)) * ns_per_s);
        }
        if (world_.hit(s.server_loss)) {
            server->lose();
        }
        if (world_.hit(s.rot) && server->damage_cache()) {
            server->kill(false);  // It is found when it is read.
        }
        if (world_.hit(s.copy_rot)) {
            server->rot_one_copy();
        }
    }
}

void Operator::disturb_machines() {
    const Settings& s = world_.settings;
    for (const auto& machine : world_.machines) {
        if (world_.hit(s.agent_kill)) {
            machine->kill(false);
        } else if (world_.hit(s.agent_power_cut)) {
            machine->kill(true);
        } else if (world_.hit(s.agent_stop)) {
            machine->stop_cleanly();
        } else if (world_.hit(s.agent_lost_state)) {
            machine->lose_state();
        } else if (world_.hit(s.agent_old_state)) {
            world_.random->below(2) == 0 ? machine->save_state() : machine->restore_state();
        } else if (machine->spool_full() && world_.hit(s.agent_give_room)) {
            machine->give_room();
        }
        if (s.disk_leaves > 0 && world_.hit(s.disk_leaves)) {
            machine->change_disks();
        }
        if (world_.hit(s.takeover)) {
            take_over(*machine);
        }
    }
}

// The machine is pointed elsewhere; the server it leaves is not asked and may go on.
void Operator::take_over(Machine& machine) {
    const std::size_t others = world_.servers.size() - 1;
    if (others == 0) {
        return;
    }
    const std::size_t from = machine.server(), other = world_.random->below(others);
    machine.aim_at(other + (other >= from ? 1 : 0));
    world_.event("takeover", machine.server());
    world_.trace.count("fault.takeover");
    if (!std::exchange(taken_over_, true)) {
        world_.trace.count("fault.takeover_in_schedule");
    }
    if (world_.random->below(2) == 0) {
        machine.kill(false);
    }
}

}  // namespace cw::sim
