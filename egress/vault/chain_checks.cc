// What must hold between one manifest and the next.
#include "egress/vault/chain_checks.h"

#include <algorithm>

namespace cw::vault {
namespace {

const DiskEntry* find_disk(const Manifest& manifest, const DiskId& disk) {
    const auto at = std::ranges::find(manifest.disks, disk, &DiskEntry::disk);
    return at == manifest.disks.end() ? nullptr : &*at;
}

bool goes_back(const DiskEntry& before, const DiskEntry& disk) {
    return disk.generation < before.generation ||
           (disk.generation == before.generation && disk.committed < before.committed);
}

Result<void> check_disks(const Manifest& old, const Manifest& next) {
    for (const DiskEntry& disk : next.disks) {
        const DiskEntry* const before = find_disk(old, disk.disk);
        if (before == nullptr ||
            (next.kind == ManifestKind::takeover && goes_back(*before, disk))) {
            continue;
        }
        if (disk.generation < before->generation) {
            return broken(next, "disk " + to_string(disk.disk) + ": the generation went back");
        }
        if (disk.generation == before->generation && disk.committed < before->committed) {
            return broken(next, "disk " + to_string(disk.disk) + ": committed went back");
        }
        if (disk.generation == before->generation &&
            (disk.parent_generation != before->parent_generation ||
             disk.parent_seq != before->parent_seq)) {
            return broken(next, "disk " + to_string(disk.disk) + ": the parent changed");
        }
    }
    return {};
}

bool same_cuts(const PointEntry& a, const PointEntry& b) {
    return std::ranges::equal(a.cuts, b.cuts, [](const auto& x, const auto& y) {
        return x.disk == y.disk && x.generation == y.generation && x.cut == y.cut &&
               x.stream_hash == y.stream_hash;
    });
}

}  // namespace

std::unexpected<Error> broken(const Manifest& next, const std::string& what) {
    return fail(Errc::object_corrupt, "manifest " + std::to_string(next.number) + ": " + what);
}

Result<void> check_form(const Manifest& next) {
    if (next.disks.size() > disks_per_manifest_max) {
        return broken(next, "lists " + std::to_string(next.disks.size()) + " disks, more than " +
                                std::to_string(disks_per_manifest_max));
    }
    std::set<DiskId> seen;
    for (const DiskEntry& disk : next.disks) {
        if (!seen.insert(disk.disk).second) {
            return broken(next, "disk " + to_string(disk.disk) + " is listed twice");
        }
        if (disk.parent_generation >= disk.generation) {
            return broken(next, "disk " + to_string(disk.disk) + " is its own ancestor");
        }
    }
    for (const GenerationEntry& entry : next.lineage) {
        if (entry.parent_generation >= entry.generation) {
            return broken(next, "disk " + to_string(entry.disk) + " is its own ancestor");
        }
    }
    if (next.boundary > next.checkpoint) {
        return broken(next, "the boundary lies above the checkpoint");
    }
    return {};
}

Result<void> check_point(const Manifest& next, const PointEntry& point) {
    std::set<DiskId> seen;
    for (const PointEntry::Cut& cut : point.cuts) {
        const DiskEntry* const disk = find_disk(next, cut.disk);
        const std::string where = "point " + to_string(point.id) + ", disk " + to_string(cut.disk);
        if (disk == nullptr || !seen.insert(cut.disk).second) {
            return broken(next, where + ": unknown or listed twice");
        }
        if (cut.generation != disk->generation || cut.cut > disk->committed) {
            return broken(next, where + ": the cut is not committed");
        }
        // A cut below the fence does not see what is being laid above it.
        const bool open = raw(disk->open_fence) != 0 && cut.cut >= disk->open_fence;
        if (!disk->protected_ || open) {
            return broken(next, where + ": a synchronisation is open");
        }
    }
    const auto missing = std::ranges::find_if(next.disks, [&seen](const DiskEntry& disk) {
        return disk.protected_ && !seen.contains(disk.disk);
    });
    if (seen.empty() || missing != next.disks.end()) {
        return broken(next, "point " + to_string(point.id) + " does not cover every disk");
    }
    return {};
}

std::size_t entries_of(const IndexRunRef& run) {
    return std::size_t{run.segments} + run.points;
}

bool is_dead(const IndexRunRef& run, std::size_t entry) {
    return entry / 8 < run.dead.size() &&
           (run.dead[entry / 8] & (std::byte{1} << (entry % 8))) != std::byte{0};
}

std::size_t alive_in(const IndexRunRef& run, std::size_t from, std::size_t to) {
    std::size_t count = 0;
    for (std::size_t entry = from; entry < to; ++entry) {
        count += is_dead(run, entry) ? 0 : 1;
    }
    return count;
}

namespace {

Result<void> check_run_order(const Manifest& next) {
    if (next.kind != ManifestKind::checkpoint && !(next.runs.empty() && next.run_counter == 0)) {
        return broken(next, "names index runs and is no checkpoint");
    }
    std::uint32_t before = 0;
    for (const IndexRunRef& run : next.runs) {
        if (run.id <= before || run.id > next.run_counter) {
            return broken(next, "names its index runs out of order");
        }
        for (std::size_t entry = entries_of(run); entry < run.dead.size() * 8; ++entry) {
            if (is_dead(run, entry)) {
                return broken(next, "buries an entry that its index run does not hold");
            }
        }
        before = run.id;
    }
    return {};
}

void count_alive(Kept& kept, const IndexRunRef& run) {
    kept.segments += alive_in(run, 0, run.segments);
    kept.points += alive_in(run, run.segments, entries_of(run));
}

}  // namespace

Result<Kept> check_first_runs(const Manifest& first) {
    CW_TRY(check_run_order(first));
    Kept kept;
    for (const IndexRunRef& run : first.runs) {
        count_alive(kept, run);
    }
    return kept;
}

Result<Kept> check_runs(const ChainState& state, const Manifest& next,
                        const std::vector<IndexRun>& fresh) {
    CW_TRY(check_run_order(next));
    if (!next.runs.empty() && !(next.dropped.empty() && next.pruned.empty())) {
        return broken(next, "stands on index runs and drops entries of them");
    }
    Kept kept;
    std::size_t unknown = 0;
    for (const IndexRunRef& run : next.runs) {
        const auto known = state.runs.find(run.id);
        if (known == state.runs.end()) {
            if (unknown == fresh.size() || fresh[unknown].segments.size() != run.segments ||
                fresh[unknown].points.size() != run.points || run.id <= state.run_counter) {
                return broken(next, "names an index run that is not given");
            }
            ++unknown;
        } else if (known->second.hash != run.hash || known->second.dead != run.dead) {
            return broken(next, "changes index run " + std::to_string(run.id));
        } else {
            kept.runs.insert(run.id);
        }
        count_alive(kept, run);
    }
    const bool counts_on =
        next.kind != ManifestKind::checkpoint || next.run_counter >= state.run_counter;
    if (unknown != fresh.size() || !counts_on) {
        return broken(next, "leaves out an index run");
    }
    return kept;
}

Result<void> check_segments(const ChainState& state, const Manifest& next,
                            const std::vector<IndexRun>& fresh, const Kept& kept) {
    std::set<SegmentName> dropped, named;
    for (const SegmentName& name : next.dropped) {
        if (!state.segments.contains(name) || !dropped.insert(name).second) {
            return broken(next, "drops a segment that is not alive");
        }
    }
    std::size_t repeated = 0;
    const auto check = [&](const SegmentRef& ref, bool in_run) -> Result<void> {
        const auto at = state.segments.find(ref.name);
        const bool known = at != state.segments.end();
        const bool repeats = known && next.kind == ManifestKind::checkpoint &&
                             at->second.root == ref.root && !dropped.contains(ref.name) &&
                             !kept.runs.contains(at->second.place.run);
        if (!named.insert(ref.name).second || (known && !repeats) || (in_run && !known)) {
            return broken(next, "names a segment twice");
        }
        repeated += known && !in_run ? 1 : 0;
        return {};
    };
    for (const SegmentRef& ref : next.added) {
        CW_TRY(check(ref, false));
    }
    for (const IndexRun& run : fresh) {
        for (const SegmentRef& ref : run.segments) {
            CW_TRY(check(ref, true));
        }
    }
    if (next.kind == ManifestKind::checkpoint &&
        repeated + kept.segments != state.segments.size() - dropped.size()) {
        return broken(next, "the checkpoint forgets a segment");
    }
    return {};
}

Result<void> check_points(const ChainState& state, const Manifest& next,
                          const std::vector<IndexRun>& fresh, const Kept& kept) {
    std::set<PointId> pruned, named;
    for (const PointId& id : next.pruned) {
        if (!state.points.contains(id) || !pruned.insert(id).second) {
            return broken(next, "prunes point " + to_string(id) + ", which is unknown");
        }
    }
    std::size_t repeated = 0;
    const auto check = [&](const PointEntry& point, bool in_run) -> Result<void> {
        if (!named.insert(point.id).second) {
            return broken(next, "lists point " + to_string(point.id) + " twice");
        }
        const auto at = state.points.find(point.id);
        if (at == state.points.end()) {
            return in_run ? broken(next, "an index run invents a point") : check_point(next, point);
        }
        const bool doubled =
            next.kind == ManifestKind::checkpoint && kept.runs.contains(at->second.place.run);
        if (!same_cuts(at->second, point) || point.valid_until < at->second.valid_until ||
            pruned.contains(point.id) || doubled) {
            return broken(next, "changes point " + to_string(point.id));
        }
        repeated += in_run ? 0 : 1;
        return {};
    };
    for (const PointEntry& point : next.points) {
        CW_TRY(check(point, false));
    }
    for (const IndexRun& run : fresh) {
        for (const PointEntry& point : run.points) {
            CW_TRY(check(point, true));
        }
    }
    if (next.kind == ManifestKind::checkpoint &&
        repeated + kept.points != state.points.size() - pruned.size()) {
        return broken(next, "the checkpoint forgets a recovery point");
    }
    return {};
}

Result<void> check_taken_back(const ChainState& state, const Manifest& next) {
    std::map<DiskId, std::pair<Generation, Seq>> ends;
    for (const DiskEntry& disk : next.disks) {
        const DiskEntry* const before = find_disk(state.newest, disk.disk);
        if (before != nullptr && goes_back(*before, disk)) {
            ends[disk.disk] = {disk.generation, disk.committed};
        }
    }
    if (ends.empty()) {
        return {};
    }
    const auto beyond = [&ends](const DiskId& disk, Generation generation, Seq seq) {
        const auto end = ends.find(disk);
        return end != ends.end() && std::pair(generation, seq) > end->second;
    };
    const std::set<SegmentName> dropped(next.dropped.begin(), next.dropped.end());
    for (const auto& [name, ref] : state.segments) {
        if (beyond(name.disk, name.generation, ref.last_seq) && !dropped.contains(name)) {
            return broken(next, "takes back writes and keeps a segment of them");
        }
    }
    const std::set<PointId> pruned(next.pruned.begin(), next.pruned.end());
    for (const auto& [id, point] : state.points) {
        const bool lost = std::ranges::any_of(point.cuts, [&beyond](const PointEntry::Cut& cut) {
            return beyond(cut.disk, cut.generation, cut.cut);
        });
        if (lost && !pruned.contains(id)) {
            return broken(next, "takes back writes and keeps point " + to_string(id));
        }
    }
    return {};
}

Result<void> check_successor(const Manifest& old, const Sha256& old_hash, const Manifest& next) {
    if (next.machine != old.machine || next.number != old.number + 1) {
        return broken(next, "does not follow manifest " + std::to_string(old.number));
    }
    if (next.previous != old_hash) {
        return broken(next, "does not name the hash of its predecessor");
    }
    const bool takeover = next.kind == ManifestKind::takeover;
    const Epoch expected = takeover ? Epoch{raw(old.epoch) + 1} : old.epoch;
    if (next.epoch != expected || (next.writer == old.writer) == takeover) {
        return broken(next, "epoch " + std::to_string(raw(next.epoch)) + " or writer after epoch " +
                                std::to_string(raw(old.epoch)));
    }
    const bool checkpoint = next.kind == ManifestKind::checkpoint;
    if (next.checkpoint != (checkpoint ? next.number : old.checkpoint) ||
        next.boundary < old.boundary) {
        return broken(next, "checkpoint or boundary is wrong");
    }
    CW_TRY(check_form(next));
    CW_TRY(check_disks(old, next));
    if (!checkpoint) {  // A checkpoint repeats points of the past: check_follows() tells them
                        // apart.
        for (const PointEntry& point : next.points) {
            CW_TRY(check_point(next, point));
        }
    }
    return {};
}

}  // namespace cw::vault
