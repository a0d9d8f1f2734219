// What operators do to keys.
#include "tests/sim/machine.h"
#include "tests/sim/mutant_parts.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"
#include "tests/vault/vault_rig.h"

#include <utility>

namespace cw::sim {

void Operator::rotate(Machine& machine) {
    Process* const process = world_.servers[machine.server()]->process();
    if (process != nullptr && !process->running()) {
        process->engine().post(upload::RotateDekCommand{.machine = machine.id()});
        world_.event("rotate");
        world_.trace.count("fault.rotation");
    }
}

// As `causeway keys rotate` and then `retire`: all servers are down until every key is wrapped
// anew. What a stopped server had under way may land behind the rotation, wrapped by the old key;
// the second look, when nothing can land any more, finds it. Only then is the old key thrown away.
void Operator::rotate_kek() {
    for (const auto& server : world_.servers) {
        server->kill(false);
    }
    world_.event("rotate the vault's key");
    auto next = fakes::make_test_kek("sim " + std::to_string(++keks_),
                                     kek_random(world_.mutant, *world_.keys_random));
    if (!wrap_anew(*next)) {
        return;
    }
    world_.vault.land_late();
    if (world_.mutant != Mutant::rotation_not_resumed && !wrap_anew(*next)) {
        return;
    }
    world_.trace.count("fault.kek_rotation");
    world_.retire_kek(std::move(next));
    check_old_kek();
}

// Begun again with the same two keys as often as the store interrupts it. A rotation is a handful
// of requests and has to come through all of them in one go: where the store answers hardly any, it
// is tried until the store does.
bool Operator::wrap_anew(vault::KeyService& next) {
    constexpr int attempts_max = 64, attempts_calm_max = 4;
    const auto store = stores_->make();
    for (int attempt = 0; attempt < attempts_max + attempts_calm_max; ++attempt) {
        if (attempt == attempts_max) {
            world_.vault.set_rates({});
            world_.vault.end_leases();
            world_.trace.count("seen.kek_rotation_waited_for_the_store");
        }
        const auto done = vault::rotate_kek(*store, *world_.kek, next);
        if (done || world_.mutant == Mutant::rotation_not_resumed) {
            world_.vault.set_rates(world_.settings.blob);
            return true;
        }
        if (!transient(done.error()) && done.error().code != Errc::blob_leased) {
            world_.oracles->keys.on_refused(done.error());
            return false;
        }
        world_.trace.count("seen.kek_rotation_interrupted");
        world_.clock.advance(ns_per_s);
    }
    world_.oracles->keys.on_never_ending();
    return false;
}

// Whoever has only the old key opens nothing.
void Operator::check_old_kek() {
    const auto store = world_.readers->make();
    for (const auto& machine : world_.machines) {
        const auto opened = vault::open_machine_keys(*store, world_.old_kek(), world_.identity,
                                                     machine->id(), nullptr);
        world_.oracles->keys.check_replaced(machine->id(), opened.has_value());
    }
}

}  // namespace cw::sim
