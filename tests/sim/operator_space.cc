// What the upkeep of a server decides: which points go, and with them which segments; what is worth
// being written again. As appliance/maintenance.cc does it, without its pauses.
#include "recovery/compact.h"
#include "recovery/retention.h"
#include "tests/sim/machine.h"
#include "tests/sim/operator.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

recovery::RetentionPolicy short_retention() {
    constexpr std::int64_t s = 1'000'000;
    return {.rules = {{.until_us = 60 * s, .every_us = 0},
                      {.until_us = 600 * s, .every_us = 60 * s},
                      {.until_us = 100'000 * s, .every_us = 600 * s}}};
}

// So that no point names a disk any more that left some seconds ago.
recovery::RetentionPolicy brief_retention() {
    constexpr std::int64_t s = 1'000'000;
    return {.rules = {{.until_us = 5 * s, .every_us = 0}, {.until_us = 10 * s, .every_us = 5 * s}}};
}

recovery::RetentionPolicy retention_of(const Settings& settings) {
    return settings.disk_leaves > 0  ? brief_retention()
           : settings.long_retention ? recovery::default_retention()
                                     : short_retention();
}

// Segments are some KiB here: two small neighbours are worth one object.
recovery::SpaceOptions small_space() {
    return {.stretch_segments_max = 16,
            .segments_max = 64,
            .small_bytes = 64 * kib,
            .gather_min = 2,
            .rewrite_bytes = 256 * kib,
            .rewrite_chunks = 64};
}

// Planted: one chunk that somebody can see is taken for hidden.
void hide_one(recovery::Rewrite& rewrite) {
    for (std::vector<bool>& visible : rewrite.visible) {
        const auto found = std::ranges::find(visible, true);
        if (found != visible.end()) {
            *found = false;
            return;
        }
    }
}

}  // namespace

void Operator::keep_house() {
    if (world_.random->below(12) != 0) {
        return;
    }
    Machine& machine = *world_.machines[world_.random->below(world_.machines.size())];
    world_.trace.count("fault.kept_house_while_read");
    if (world_.random->below(2) == 0) {
        prune(machine);
    } else {
        collect(machine, world_.settings.gc_grace_us);
    }
}

void Operator::prune(Machine& machine) {
    const auto store = stores_->make();
    const auto decided = decide(*store, machine);
    if (!decided) {
        if (!transient(decided.error())) {
            world_.violated("points", "upkeep met " + to_string(decided.error()));
        }
        return;
    }
    upload::PruneCommand command = *decided;
    Process* const process = world_.servers[machine.server()]->process();
    if (process == nullptr || process->running() ||
        (command.points.empty() && command.dropped.empty())) {
        return;
    }
    world_.event("prune", command.points.size(), command.dropped.size());
    world_.trace.count("prune.points", command.points.size());
    world_.trace.count("prune.segments", command.dropped.size());
    world_.trace.count("gc.rewritten", command.added.size());
    world_.oracles->points.on_pruned(command.points);
    if (world_.mutant == Mutant::deleted_undecided) {
        for (const vault::SegmentName& name : std::exchange(command.dropped, {})) {
            (void)blob::remove_and_wait(*store, vault::segment_blob(name));
        }
        command.added.clear();
    }
    process->engine().post(std::move(command));
}

// An empty history that stands on nothing has taken the place of another one.
void Operator::count_retired(const recovery::Catalog& catalog) {
    for (const vault::DiskEntry& disk : catalog.state().newest.disks) {
        if (world_.settings.disk_leaves > 0 && raw(disk.committed) == 0 &&
            raw(disk.parent_generation) == 0 && !disk.protected_ &&
            catalog.state().lineage.contains({disk.disk, Generation{raw(disk.generation) - 1}}) &&
            retired_.emplace(disk.disk, disk.generation).second) {
            world_.trace.count("prune.disks_retired");
        }
    }
}

Result<upload::PruneCommand> Operator::decide(blob::BlobStore& store, const Machine& machine) {
    CW_TRY_ASSIGN(const recovery::Catalog catalog,
                  recovery::Catalog::open(store, *world_.kek, machine.id(), {}));
    count_retired(catalog);
    std::vector<recovery::RetentionPoint> points;
    for (const vault::PointEntry* point : catalog.points()) {
        points.push_back({machine.id(), *point});
    }
    upload::PruneCommand command;
    command.machine = machine.id();
    command.decided_at = catalog.state().newest.number;
    for (const recovery::Pruned& one :
         recovery::plan_pruning(retention_of(world_.settings), points, world_.clock.wall())) {
        command.points.push_back(one.point);
    }
    if (world_.settings.long_retention) {
        world_.trace.count("prune.points_by_default", command.points.size());
    }
    recovery::Fetcher fetcher(store, 4);
    const std::set<PointId> gone(command.points.begin(), command.points.end());
    CW_TRY_ASSIGN(recovery::SpacePlan plan,
                  plan_space(fetcher, catalog, gone, space_memory_[machine.id()], small_space()));
    command.dropped = std::move(plan.dead);
    if (world_.mutant == Mutant::prune_too_much && !catalog.state().segments.empty()) {
        const auto& name = catalog.state().segments.rbegin()->first;
        if (std::ranges::find(command.dropped, name) == command.dropped.end()) {
            command.dropped.push_back(name);
        }
    }
    for (recovery::Rewrite& rewrite : plan.rewrites) {
        if (world_.mutant == Mutant::rewrite_hides_one) {
            hide_one(rewrite);
        }
        CW_TRY_ASSIGN(vault::SegmentRef ref,
                      compact(store, fetcher, catalog, rewrite, *world_.random));
        command.added.push_back(std::move(ref));
        for (const vault::SegmentRef* const from : rewrite.from) {
            command.dropped.push_back(from->name);
        }
    }
    return command;
}

}  // namespace cw::sim
