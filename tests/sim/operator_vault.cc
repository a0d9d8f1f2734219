// What operators and adversaries do to the vault itself.
#include "egress/vault/names.h"
#include "recovery/layer_walk.h"
#include "recovery/retention.h"
#include "tests/sim/machine.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

namespace cw::sim {
namespace {

recovery::RetentionPolicy short_retention() {
    constexpr std::int64_t s = 1'000'000;
    return {.rules = {{.until_us = 60 * s, .every_us = 0},
                      {.until_us = 600 * s, .every_us = 60 * s},
                      {.until_us = 100'000 * s, .every_us = 600 * s}}};
}

}  // namespace

bool Operator::transient(const Error& error) {
    return error.code == Errc::blob_unavailable || error.code == Errc::blob_throttled ||
           error.code == Errc::not_found || error.code == Errc::blob_not_found;
}

void Operator::collect(Machine& machine, std::int64_t grace_us) {
    const auto store = stores_->make();
    const auto report = recovery::collect_garbage(
        *store, *world_.kek, machine.id(), signer_, gc_memory_[machine.id()],
        {.grace_us = grace_us, .dry_run = false}, world_.clock.wall());
    if (!report) {
        if (!transient(report.error())) {
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

void Operator::prune(Machine& machine) {
    const auto store = stores_->make();
    const auto catalog = recovery::Catalog::open(*store, *world_.kek, machine.id(), {});
    if (!catalog) {
        if (!transient(catalog.error())) {
            world_.violated("points", "retention met " + to_string(catalog.error()));
        }
        return;
    }
    std::vector<recovery::RetentionPoint> points;
    for (const vault::PointEntry* point : catalog->points()) {
        points.push_back({machine.id(), *point});
    }
    upload::PruneCommand command;
    command.machine = machine.id();
    command.decided_at = catalog->state().newest.number;
    std::set<PointId> pruned;
    for (const recovery::Pruned& one :
         recovery::plan_pruning(short_retention(), points, world_.clock.wall())) {
        command.points.push_back(one.point);
        pruned.insert(one.point);
    }
    auto dead = dead_segments(*store, *catalog, pruned);
    if (!dead) {
        return;
    }
    command.dropped = std::move(*dead);
    if (world_.mutant == Mutant::prune_too_much && !catalog->state().segments.empty()) {
        const auto& name = catalog->state().segments.rbegin()->first;
        if (std::ranges::find(command.dropped, name) == command.dropped.end()) {
            command.dropped.push_back(name);
        }
    }
    Process* const process = world_.servers[machine.server()]->process();
    if (process == nullptr || process->running() ||
        (command.points.empty() && command.dropped.empty())) {
        return;
    }
    world_.event("prune", command.points.size(), command.dropped.size());
    world_.trace.count("prune.points", command.points.size());
    world_.trace.count("prune.segments", command.dropped.size());
    world_.oracles->points.on_pruned(command.points);
    process->engine().post(std::move(command));
}

Result<std::vector<vault::SegmentName>> Operator::dead_segments(blob::BlobStore& store,
                                                                const recovery::Catalog& catalog,
                                                                const std::set<PointId>& pruned) {
    std::vector<vault::PointEntry::Cut> cuts;
    for (const vault::DiskEntry& disk : catalog.state().newest.disks) {
        if (raw(disk.open_fence) != 0 || raw(disk.generation) == 0) {
            return std::vector<vault::SegmentName>{};  // Its history is being made.
        }
        cuts.push_back({disk.disk, disk.generation, disk.committed, {}, disk.size_bytes});
    }
    for (const auto& [id, point] : catalog.state().points) {
        if (!pruned.contains(id)) {
            cuts.insert(cuts.end(), point.cuts.begin(), point.cuts.end());
        }
    }
    std::set<vault::SegmentName> seen;
    recovery::Fetcher fetcher(store, 4);
    for (const vault::PointEntry::Cut& cut : cuts) {
        recovery::LayerMap map(catalog.disk_at(cut).size_bytes);
        std::vector<vault::SegmentName> names;
        CW_TRY(recovery::walk_layers(
            fetcher, catalog, cut, {},
            [&](const recovery::OpenSegment& segment,
                const recovery::Layer& layer) -> Result<bool> {
                map.lay_under(static_cast<std::uint32_t>(names.size()), layer, segment.chunks);
                names.push_back(segment.ref->name);
                // What a hole hides must not come back: its segment stays.
                if (!std::ranges::all_of(segment.chunks, vault::has_bytes, &vault::Chunk::codec)) {
                    seen.insert(segment.ref->name);
                }
                return !map.complete();
            }));
        for (const auto& piece : map.pieces(0, map.disk_bytes())) {
            if (piece.chunk != recovery::LayerMap::zero_chunk) {
                seen.insert(names[map.chunk(piece.chunk).segment]);
            }
        }
    }
    std::vector<vault::SegmentName> dead;
    for (const auto& entry : catalog.state().segments) {
        if (!seen.contains(entry.first)) {
            dead.push_back(entry.first);
        }
    }
    return dead;
}

void Operator::collect_everything() {
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

void Operator::tamper() {
    const std::vector<blob::BlobName> names = world_.vault.names();
    const auto& victim = names[world_.random->below(names.size())];
    const auto& other = names[world_.random->below(names.size())];
    bool done = false;
    switch (world_.random->below(4)) {
        case 0:
            done = world_.vault.erase(victim);
            break;
        case 1:
            done = world_.vault.flip_bit(
                victim, world_.random->next_u64() % (world_.vault.bytes(victim)->size() * 8));
            break;
        case 2:
            done = victim != other && world_.vault.swap(victim, other);
            break;
        default:
            done = world_.vault.roll_back(victim);
            break;
    }
    if (!done) {
        return;
    }
    world_.event("tampered with " + to_string(victim));
    world_.trace.count("fault.tampered");
    const auto store = world_.readers->make();
    for (const auto& machine : world_.machines) {
        const auto catalog = recovery::Catalog::open(*store, *world_.kek, machine->id(), {});
        std::size_t refused = 1;
        if (catalog) {
            refused = world_.oracles->points.verify_tampered(*store, *catalog, machine->points());
        }
        world_.trace.count("seen.tampering_refused", refused);
    }
}

}  // namespace cw::sim
