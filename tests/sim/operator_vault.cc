// What operators do to the vault itself.
#include "tests/sim/machine.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <array>
#include <utility>
#include <vector>

namespace cw::sim {
bool Operator::transient(const Error& error) {
    return error.code == Errc::blob_unavailable || error.code == Errc::blob_throttled ||
           error.code == Errc::not_found || error.code == Errc::blob_not_found;
}

// A tool that somebody points at the account, or a backup product. First which container: there
// are many segments, and one note of the newest manifest.
void Operator::take_lease() {
    constexpr std::array containers{blob::Container::data, blob::Container::manifest,
                                    blob::Container::keys, blob::Container::control};
    const blob::Container container = containers.at(world_.random->below(containers.size()));
    std::vector<blob::BlobName> names = world_.vault.names();
    std::erase_if(names, [&](const auto& name) { return name.container != container; });
    if (names.empty()) {
        return;
    }
    const blob::BlobName& name = names[world_.random->below(names.size())];
    const std::uint64_t s = 15 + world_.random->below(world_.random->below(4) == 0 ? 900 : 60);
    world_.vault.lease(name, world_.clock.boot() + static_cast<std::int64_t>(s) * ns_per_s);
    world_.event("lease of " + to_string(name), s);
    world_.trace.count("fault.lease." + std::string(blob::name_of(container)));
}

void Operator::collect(Machine& machine, std::int64_t grace_us) {
    const auto store = stores_->make();
    const auto report = recovery::collect_garbage(
        *store, *world_.kek, machine.id(), signer_, gc_memory_[machine.id()],
        {.grace_us = grace_us, .dry_run = false}, world_.clock.wall());
    if (!report) {
        if (!transient(report.error()) && report.error().code != Errc::blob_leased) {
            world_.violated("gc", "the collector met " + to_string(report.error()));
        }
        return;
    }
    world_.event("gc of " + to_string(machine.id()), report->unnamed_segments,
                 report->deleted_segments);
    world_.trace.count("gc.locked", report->immutable);
    world_.trace.count("gc.runs");
    world_.trace.count("gc.deleted_segments", report->deleted_segments);
    world_.trace.count("gc.deleted_manifests", report->deleted_manifests);
    world_.trace.count("gc.rescued", report->rescued);
}

void Operator::after_round() {
    if (to_copy_ && world_.machines[*to_copy_]->at_rest()) {
        const std::size_t original = *std::exchange(to_copy_, std::nullopt);
        if (clone_at_rest(world_, original) && world_.random->below(4) != 0) {
            turns_.emplace(world_, world_.machines.size() - 1, original);
        }
    }
    if (turns_) {
        turns_->tend();
    }
    const std::uint64_t manifests = world_.oracles->manifests_stored;
    const bool named = manifests != std::exchange(manifests_seen_, manifests);
    if (named && std::exchange(to_kill_, false)) {
        for (const auto& server : world_.servers) {
            server->kill(false);
        }
        world_.trace.count("fault.killed_before_note");
    }
    const std::uint64_t stored = world_.oracles->segments_stored;
    if (stored != std::exchange(segments_seen_, stored) && world_.hit(world_.settings.collect)) {
        collect_while_asleep();
        to_kill_ = world_.random->below(3) == 0;
    }
}

void Operator::collect_while_asleep() {
    const std::int64_t grace_us = world_.settings.gc_grace_us;
    for (const auto& server : world_.servers) {
        server->pause(grace_us * 1000);
    }
    world_.trace.count("fault.collected_while_asleep");
    for (int run = 0; run < 2; ++run) {  // What is unnamed must be seen so before it goes.
        for (const auto& machine : world_.machines) {
            collect(*machine, grace_us);
        }
        if (run == 0) {
            world_.clock.jump_wall(grace_us);
        }
    }
    for (const auto& server : world_.servers) {
        server->pause(0);
    }
}

void Operator::collect_everything() {
    // Who does not know yet that somebody else has taken over may pause for so long before it tries
    // again; what it puts then is named by nothing.
    world_.clock.advance(31 * ns_per_s);
    for (int n = 0; n < 100; ++n) {
        world_.round();
    }
    // Twice: what is unnamed must be seen so before it goes. In between longer than any lock.
    for (int run = 0; run < 2 && !world_.violation; ++run) {
        for (const auto& machine : world_.machines) {
            collect(*machine, 1'000'000);
        }
        world_.clock.advance(25 * ns_per_s);
        for (int n = 0; n < 50; ++n) {
            world_.round();
        }
    }
    world_.oracles->check_vault();
    world_.oracles->verify(true, false);
}

}  // namespace cw::sim
