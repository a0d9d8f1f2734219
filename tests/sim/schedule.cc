#include "tests/sim/schedule.h"

#include "tests/sim/adversary.h"
#include "tests/sim/group.h"
#include "tests/sim/machine.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"

#include <algorithm>
#include <cstdio>

namespace cw::sim {
namespace {

constexpr std::size_t rounds_per_action_max = 3000, rounds_to_converge = 60'000,
                      rounds_per_final_point = 8192;
constexpr std::int64_t converge_ns = 4 * 3600 * ns_per_s;

class Schedule {
public:
    Schedule(const Settings& settings, Mutant mutant, bool print)
        : world_(settings, mutant, print), operator_(world_), adversary_(world_) {}

    void run() {
        for (std::uint32_t i = 0; i < world_.settings.actions && !world_.violation; ++i) {
            slow_ = world_.settings.slow_uplink && i > world_.settings.actions / 4 &&
                    i < world_.settings.actions * 3 / 4;
            pass_time();
            act();
        }
        converge();
        if (!world_.violation) {
            last_look();
        }
        add_counts();
        world_.trace.count("rounds", world_.rounds());
    }
    World& world() noexcept { return world_; }

private:
    void pass_time() {
        // Mostly a moment, now and then long enough for every timeout.
        const std::uint64_t ms = world_.random->below(10) == 0 ? world_.random->below(100'000)
                                                               : world_.random->below(600);
        const Nanos until = world_.clock.boot() + static_cast<std::int64_t>(ms) * ns_per_ms;
        if (slow_) {  // For replication; people have another line.
            world_.trace.count("fault.slow_uplink");
            world_.vault.set_rates({.unavailable = 0.98});
        }
        for (std::size_t n = 0; n < rounds_per_action_max && world_.clock.boot() < until; ++n) {
            world_.round(until);
            if (!slow_) {
                operator_.after_round();
            }
            if (world_.group) {
                world_.group->play();
            }
        }
        if (slow_) {
            world_.vault.set_rates(world_.settings.blob);
        }
    }
    void act() {
        Machine& machine = *world_.machines[world_.random->below(world_.machines.size())];
        machine.write_some(world_.random->below(6));
        if (slow_) {
            machine.flood((1 + world_.random->below(4)) * mib / 2);
        }
        if (world_.random->below(3) == 0) {
            machine.make_point();
        }
        if (world_.group && world_.random->below(3) == 0) {
            world_.group->begin();
        }
        operator_.disturb();
        if (world_.settings.tamper) {
            adversary_.watch();
        }
        if (world_.random->below(16) == 0) {
            world_.meanwhile = [this] { operator_.keep_house(); };
            world_.oracles->verify(false, true);
            world_.meanwhile = {};
        }
    }
    bool still() {
        for (const auto& machine : world_.machines) {
            if (!machine->settled()) {
                return false;
            }
        }
        return true;
    }
    // A point whose writes were found damaged in the cache after it was made cannot be had any
    // more; nor can one that only a server has which its clone has fenced, or the server that an
    // agent's clone liked, or that only a server had which was lost; nor one that was made just
    // before the agent had to catch up elsewhere, or found its state superseded. The next one can.
    void renew_final_points() {
        const bool any_lost =
            world_.servers.size() > world_.settings.servers || world_.machines_were_cloned ||
            world_.servers_lost > 0 ||
            std::ranges::any_of(world_.servers, [](const auto& s) { return s->damaged(); });
        for (const auto& machine : world_.machines) {
            if ((any_lost || machine->newest_is_lost()) && !machine->settled()) {
                machine->make_point();
            }
        }
    }
    void converge() {
        world_.end_faults();
        const Nanos limit = world_.clock.boot() + converge_ns;
        std::size_t rounds = 0;
        bool final_points = false;
        while (!world_.violation) {
            world_.round();
            if (++rounds % 16 != 0) {
                continue;
            }
            if (!world_.group || world_.group->stood()) {
                if (!final_points) {
                    final_points = true;
                    for (const auto& machine : world_.machines) {
                        final_points &= machine->final_point();
                    }
                } else if (still()) {
                    return;
                } else if (rounds % rounds_per_final_point == 0) {
                    renew_final_points();
                }
            }
            if (rounds > rounds_to_converge || world_.clock.boot() > limit) {
                std::string who;
                for (const auto& machine : world_.machines) {
                    who += "\n  " + machine->state();
                }
                for (const auto& server : world_.servers) {
                    who += "\n  " + server->state();
                }
                world_.oracles->convergence.on_never_still(rounds, who);
            }
        }
    }
    void last_look() {
        for (std::size_t n = 0; n < 400; ++n) {  // Acknowledgements and credit come to rest.
            world_.round();
        }
        world_.oracles->verify(false, false);
        world_.oracles->check_resources();
        for (const auto& machine : world_.machines) {
            world_.oracles->check_newest(*machine);
        }
        operator_.collect_everything();
        world_.oracles->check_rest();
        if (world_.settings.tamper && !world_.violation) {
            adversary_.tamper();
        }
        if (world_.settings.tamper && !world_.violation) {
            adversary_.confront();
        }
    }

    void add_counts() {
        for (const auto& server : world_.servers) {
            server->add_counts();
        }
        for (const auto& machine : world_.machines) {
            machine->add_counts();
        }
        world_.oracles->add_counts();
        world_.trace.count("fault.dribble", world_.network.dribbled);
        world_.trace.count("fault.delay", world_.network.delayed);
        world_.trace.count("seen.refused_by_lease", world_.vault.refused_by_leases());
        const std::pair<fakes::BlobFault, const char*> faults[] = {
            {fakes::BlobFault::unavailable, "fault.blob.unavailable"},
            {fakes::BlobFault::throttled, "fault.blob.throttled"},
            {fakes::BlobFault::lost_reply, "fault.blob.lost_reply"},
            {fakes::BlobFault::lost_request, "fault.blob.lost_request"},
            {fakes::BlobFault::late, "fault.blob.late"}};
        for (const auto& [fault, name] : faults) {
            world_.trace.count(name, world_.vault.faults(fault));
        }
    }

    World world_;
    Operator operator_;
    Adversary adversary_;
    bool slow_ = false;  // The uplink, now.
};

}  // namespace

Outcome run_schedule(std::uint64_t seed, Mutant mutant, bool print) {
    const Settings settings = draw_settings(seed);
    if (print) {
        std::printf("%s\n", describe(settings).c_str());
    }
    Outcome outcome;
    Schedule schedule(settings, mutant, print);
    schedule.run();
    World& world = schedule.world();
    world.trace.count("simulated_s",
                      static_cast<std::uint64_t>(raw(world.clock.boot()) / ns_per_s));
    outcome.violation = world.violation;
    outcome.trace_hash = world.trace.hash();
    outcome.events = world.trace.events();
    outcome.counts = world.trace.counts();
    outcome.last_events = world.trace.last();
    return outcome;
}

}  // namespace cw::sim
