// What must hold between one manifest and the next, and what a chain of them adds up to.
#include "base/assert.h"
#include "egress/vault/manifest.h"

#include <algorithm>
#include <set>

namespace cw::vault {
namespace {

std::unexpected<Error> broken(const Manifest& next, const std::string& what) {
    return fail(Errc::object_corrupt, "manifest " + std::to_string(next.number) + ": " + what);
}

const DiskEntry* find_disk(const Manifest& manifest, const DiskId& disk) {
    const auto at = std::ranges::find(manifest.disks, disk, &DiskEntry::disk);
    return at == manifest.disks.end() ? nullptr : &*at;
}

// Rules of a manifest by itself.
Result<void> check_form(const Manifest& next) {
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

// A point is complete and within what is committed, and no disk of it has a fence open at its cut.
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

Result<void> check_disks(const Manifest& old, const Manifest& next) {
    for (const DiskEntry& disk : next.disks) {
        const DiskEntry* const before = find_disk(old, disk.disk);
        if (before == nullptr) {
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

// The lists of `next` against the state, before anything is changed. A checkpoint repeats what the
// state holds and may add to it.
Result<void> check_segments(const ChainState& state, const Manifest& next) {
    std::set<SegmentName> dropped, named;
    for (const SegmentName& name : next.dropped) {
        if (!state.segments.contains(name) || !dropped.insert(name).second) {
            return broken(next, "drops a segment that is not alive");
        }
    }
    std::size_t repeated = 0;
    for (const SegmentRef& ref : next.added) {
        const auto at = state.segments.find(ref.name);
        const bool known = at != state.segments.end();
        const bool repeats = known && next.kind == ManifestKind::checkpoint &&
                             at->second.root == ref.root && !dropped.contains(ref.name);
        if (!named.insert(ref.name).second || (known && !repeats)) {
            return broken(next, "names a segment twice");
        }
        repeated += known ? 1 : 0;
    }
    if (next.kind == ManifestKind::checkpoint &&
        repeated != state.segments.size() - dropped.size()) {
        return broken(next, "the checkpoint forgets a segment");
    }
    return {};
}

Result<void> check_points(const ChainState& state, const Manifest& next) {
    std::set<PointId> pruned, named;
    for (const PointId& id : next.pruned) {
        if (!state.points.contains(id) || !pruned.insert(id).second) {
            return broken(next, "prunes point " + to_string(id) + ", which is unknown");
        }
    }
    std::size_t repeated = 0;
    for (const PointEntry& point : next.points) {
        if (!named.insert(point.id).second) {
            return broken(next, "lists point " + to_string(point.id) + " twice");
        }
        const auto at = state.points.find(point.id);
        if (at == state.points.end()) {
            CW_TRY(check_point(next, point));
            continue;
        }
        if (!same_cuts(at->second, point) || point.valid_until < at->second.valid_until ||
            pruned.contains(point.id)) {
            return broken(next, "changes point " + to_string(point.id));
        }
        ++repeated;
    }
    if (next.kind == ManifestKind::checkpoint && repeated != state.points.size() - pruned.size()) {
        return broken(next, "the checkpoint forgets a recovery point");
    }
    return {};
}

// What `next` says of generations, kept for readers of older points.
void fold_lineage(ChainState& state, const Manifest& next) {
    for (const GenerationEntry& entry : next.lineage) {
        state.lineage.insert_or_assign({entry.disk, entry.generation}, entry);
    }
    for (const DiskEntry& disk : next.disks) {
        state.lineage.insert_or_assign(
            {disk.disk, disk.generation},
            GenerationEntry{disk.disk, disk.generation, disk.parent_generation, disk.parent_seq,
                            disk.size_bytes});
    }
}

void fold(ChainState& state, const Manifest& next, const Sha256& hash) {
    for (const SegmentName& name : next.dropped) {
        state.segments.erase(name);
    }
    for (const SegmentRef& ref : next.added) {
        state.segments.insert_or_assign(ref.name, ref);
    }
    for (const PointId& id : next.pruned) {
        state.points.erase(id);
    }
    for (const PointEntry& point : next.points) {
        const auto [at, fresh] = state.points.emplace(point.id, point);
        const std::uint64_t first = fresh ? point.manifest : at->second.manifest;
        at->second = point;
        at->second.manifest = first != 0 ? first : next.number;
    }
    for (const WrappedDek& dek : next.deks) {
        state.deks.insert_or_assign(dek.version, dek);
    }
    fold_lineage(state, next);
    state.newest = next;
    state.hash = hash;
}

}  // namespace

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
    if (!checkpoint) {  // A checkpoint repeats points of the past: apply_manifest() tells them
                        // apart.
        for (const PointEntry& point : next.points) {
            CW_TRY(check_point(next, point));
        }
    }
    return {};
}

Result<void> apply_manifest(ChainState& state, const Manifest& next, const Sha256& hash) {
    CW_TRY(check_successor(state.newest, state.hash, next));
    CW_TRY(check_segments(state, next));
    CW_TRY(check_points(state, next));
    fold(state, next, hash);
    return {};
}

Result<ChainState> begin_chain(const Manifest& first, const Sha256& hash) {
    const bool genesis = first.number == 1;
    if (genesis && (first.kind != ManifestKind::takeover || first.epoch != Epoch{1} ||
                    first.previous != Sha256{} || first.checkpoint > 1 || first.boundary > 1)) {
        return broken(first, "is not a first manifest");
    }
    if (!genesis && (first.kind != ManifestKind::checkpoint || first.checkpoint != first.number)) {
        return broken(first, "is not a checkpoint");
    }
    CW_TRY(check_form(first));
    ChainState state;
    fold(state, first, hash);
    if (state.segments.size() != first.added.size() || state.points.size() != first.points.size()) {
        return broken(first, "names a segment or a recovery point twice");
    }
    for (const PointEntry& point : first.points) {
        if (genesis) {  // A checkpoint's points were checked when they were published.
            CW_TRY(check_point(first, point));
        }
    }
    return state;
}

Manifest make_checkpoint(const ChainState& state) {
    Manifest checkpoint = state.newest;
    checkpoint.kind = ManifestKind::checkpoint;
    checkpoint.number = state.newest.number + 1;
    checkpoint.previous = state.hash;
    checkpoint.nonce = {};
    checkpoint.checkpoint = checkpoint.number;
    checkpoint.added.clear();
    checkpoint.dropped.clear();
    checkpoint.points.clear();
    checkpoint.pruned.clear();
    checkpoint.deks.clear();
    checkpoint.lineage.clear();
    for (const auto& [name, ref] : state.segments) {
        checkpoint.added.push_back(ref);
    }
    for (const auto& [id, point] : state.points) {
        checkpoint.points.push_back(point);
    }
    for (const auto& [version, dek] : state.deks) {
        checkpoint.deks.push_back(dek);
    }
    for (const auto& [key, entry] : state.lineage) {
        checkpoint.lineage.push_back(entry);
    }
    return checkpoint;
}

}  // namespace cw::vault
