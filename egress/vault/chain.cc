// What a chain of manifests adds up to.
#include "base/assert.h"
#include "egress/vault/chain_checks.h"

#include <algorithm>

namespace cw::vault {
namespace {

void clear_entries(Manifest& manifest) {
    manifest.added.clear();
    manifest.dropped.clear();
    manifest.points.clear();
    manifest.pruned.clear();
    manifest.deks.clear();
    manifest.lineage.clear();
    manifest.runs.clear();
    manifest.run_counter = 0;
}

// The entry at `place` is left behind by the chain.
void leave(ChainState& state, const RunPlace& place) {
    if (place.run == 0) {
        return;
    }
    IndexRunRef& run = state.runs.at(place.run);
    CW_ASSERT(place.at < entries_of(run));
    run.dead.resize(std::max<std::size_t>(run.dead.size(), place.at / 8 + 1));
    run.dead[place.at / 8] |= std::byte{1} << (place.at % 8);
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

void fold_entries(ChainState& state, const Manifest& next) {
    for (const SegmentName& name : next.dropped) {
        const auto at = state.segments.find(name);
        leave(state, at->second.place);
        state.segments.erase(at);
    }
    for (const SegmentRef& ref : next.added) {
        const auto [at, fresh] = state.segments.emplace(ref.name, ref);
        const std::uint64_t first = fresh ? next.number : at->second.manifest;
        at->second = ref;
        at->second.place = {};
        at->second.manifest = first;
    }
    for (const PointId& id : next.pruned) {
        const auto at = state.points.find(id);
        leave(state, at->second.place);
        state.points.erase(at);
    }
    for (const PointEntry& point : next.points) {
        const auto [at, fresh] = state.points.emplace(point.id, point);
        const std::uint64_t first = fresh ? point.manifest : at->second.manifest;
        if (!fresh) {
            leave(state, at->second.place);
        }
        at->second = point;
        at->second.place = {};
        at->second.manifest = first != 0 ? first : next.number;
    }
}

// The entries of `run` that are alive learn their place.
void place_entries(ChainState& state, const IndexRunRef& ref, const IndexRun& run) {
    CW_ASSERT(run.size() == entries_of(ref));
    for (std::uint32_t at = 0; at < entries_of(ref); ++at) {
        if (is_dead(ref, at)) {
            continue;
        }
        const RunPlace place{.run = ref.id, .at = at};
        if (at < ref.segments) {
            const SegmentRef& segment = run.segments[at];
            state.segments.insert_or_assign(segment.name, segment).first->second.place = place;
        } else {
            const PointEntry& point = run.points[at - ref.segments];
            state.points.insert_or_assign(point.id, point).first->second.place = place;
        }
    }
}

// A checkpoint's runs take the place of the state's. `fresh` as for apply_manifest().
void fold_runs(ChainState& state, const Manifest& next, const std::vector<IndexRun>& fresh) {
    std::map<std::uint32_t, IndexRunRef> runs;
    std::size_t given = 0;
    for (const IndexRunRef& ref : next.runs) {
        if (!state.runs.contains(ref.id)) {
            place_entries(state, ref, fresh[given++]);
        }
        runs.emplace(ref.id, ref);
    }
    state.runs = std::move(runs);
    state.run_counter = next.run_counter;
}

void fold(ChainState& state, const Manifest& next, const Sha256& hash,
          const std::vector<IndexRun>& fresh) {
    fold_entries(state, next);
    if (next.kind == ManifestKind::checkpoint) {
        fold_runs(state, next, fresh);
    }
    for (const WrappedDek& dek : next.deks) {
        state.deks.insert_or_assign(dek.version, dek);
    }
    fold_lineage(state, next);
    state.newest = next;
    clear_entries(state.newest);
    state.hash = hash;
    state.trail.add(next.number, hash);
}

}  // namespace

Result<void> check_follows(const ChainState& state, const Manifest& next,
                           const std::vector<IndexRun>& fresh) {
    CW_TRY(check_successor(state.newest, state.hash, next));
    CW_TRY_ASSIGN(const Kept kept, check_runs(state, next, fresh));
    CW_TRY(check_segments(state, next, fresh, kept));
    CW_TRY(check_points(state, next, fresh, kept));
    return check_taken_back(state, next);
}

Result<void> apply_manifest(ChainState& state, const Manifest& next, const Sha256& hash,
                            const std::vector<IndexRun>& fresh) {
    CW_TRY(check_follows(state, next, fresh));
    fold(state, next, hash, fresh);
    return {};
}

Result<ChainState> begin_chain(const Manifest& first, const Sha256& hash, const RunSource& runs) {
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
    if (!genesis) {
        state.trail.add(first.number - 1, first.previous);
    }
    CW_TRY_ASSIGN(const Kept kept, check_first_runs(first));
    if (!first.runs.empty() && !runs) {
        return broken(first, "names index runs that are not given");
    }
    Manifest alone = first;
    alone.runs.clear();
    fold(state, alone, hash, {});
    for (std::size_t i = 0; i < first.runs.size(); ++i) {
        const IndexRunRef& ref = first.runs[i];
        CW_TRY_ASSIGN(IndexRun run, runs(i));
        for (SegmentRef& segment : run.segments) {
            segment.manifest = first.number;  // Or an earlier one.
        }
        if (run.segments.size() != ref.segments || run.points.size() != ref.points) {
            return broken(first, "an index run has another number of entries");
        }
        place_entries(state, ref, run);
        state.runs.emplace(ref.id, ref);
    }
    if (state.segments.size() != first.added.size() + kept.segments ||
        state.points.size() != first.points.size() + kept.points) {
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
    clear_entries(checkpoint);
    for (const auto& [name, ref] : state.segments) {
        if (ref.place.run == 0) {
            checkpoint.added.push_back(ref);
        }
    }
    for (const auto& [id, point] : state.points) {
        if (point.place.run == 0) {
            checkpoint.points.push_back(point);
        }
    }
    for (const auto& [id, run] : state.runs) {
        checkpoint.runs.push_back(run);
    }
    checkpoint.run_counter = state.run_counter;
    for (const auto& [version, dek] : state.deks) {
        checkpoint.deks.push_back(dek);
    }
    for (const auto& [key, entry] : state.lineage) {
        checkpoint.lineage.push_back(entry);
    }
    return checkpoint;
}

}  // namespace cw::vault
