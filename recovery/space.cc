#include "recovery/space.h"

#include "base/assert.h"
#include "recovery/layer_map.h"
#include "recovery/segment_index.h"

#include <algorithm>
#include <map>
#include <optional>

namespace cw::recovery {
namespace {

using vault::SegmentRef;

constexpr std::size_t indexes_ahead = 8;
constexpr Seq open_end{UINT64_MAX};

using Place = std::pair<DiskId, Generation>;
using Cuts = std::map<Place, std::set<Seq>>;

// Every place in a history that someone can still ask for.
Cuts cuts_of(const vault::ChainState& state, const std::set<PointId>& pruned) {
    Cuts cuts;
    const auto keep = [&](const DiskId& disk, Generation generation, Seq seq) {
        while (raw(generation) != 0 && cuts[{disk, generation}].insert(seq).second) {
            const auto origin = state.lineage.find({disk, generation});
            if (origin == state.lineage.end()) {
                return;
            }
            generation = origin->second.parent_generation;
            seq = origin->second.parent_seq;
        }
    };
    for (const vault::DiskEntry& disk : state.newest.disks) {
        keep(disk.disk, disk.generation, open_end);
    }
    for (const auto& [id, point] : state.points) {
        if (!pruned.contains(id)) {
            for (const vault::PointEntry::Cut& cut : point.cuts) {
                keep(cut.disk, cut.generation, cut.cut);
            }
        }
    }
    return cuts;
}

// Bytes of a disk that something newer covers already.
class Coverage {
public:
    // How many bytes of [begin, end) were uncovered; they are covered from now on.
    std::uint64_t cover(std::uint64_t begin, std::uint64_t end) {
        std::uint64_t fresh = end - begin;
        auto at = spans_.upper_bound(begin);
        if (at != spans_.begin() && std::prev(at)->second >= begin) {
            --at;
        }
        std::uint64_t low = begin, high = end;
        while (at != spans_.end() && at->first <= end) {
            const std::uint64_t from = std::max(at->first, begin);
            const std::uint64_t to = std::min(at->second, end);
            fresh -= to > from ? to - from : 0;
            low = std::min(low, at->first);
            high = std::max(high, at->second);
            at = spans_.erase(at);
        }
        spans_.emplace(low, high);
        return fresh;
    }

private:
    std::map<std::uint64_t, std::uint64_t> spans_;  // Begin to end; disjoint, not touching.
};

// What is visible of one segment of a stretch.
struct Judged {
    const SegmentRef* ref = nullptr;
    std::vector<bool> visible;  // Per ordinal.
    std::uint64_t alive_bytes = 0;
    bool needed = false;
    [[nodiscard]] std::uint64_t dead_bytes() const {
        return ref->object_bytes - std::min(ref->object_bytes, alive_bytes);
    }
};

class Planner {
public:
    Planner(Fetcher& fetcher, const Catalog& catalog, SpaceMemory& memory,
            const SpaceOptions& options)
        : fetcher_(fetcher), catalog_(catalog), memory_(memory), options_(options) {}

    Result<SpacePlan> run(const Cuts& cuts) {
        const auto& segments = catalog_.state().segments;
        std::set<SpaceMemory::Stretch> seen;
        for (auto at = segments.begin(); at != segments.end();) {
            const Place place{at->first.disk, at->first.generation};
            std::map<Seq, std::vector<const SegmentRef*>> stretches;  // By their last cut.
            for (; at != segments.end() && Place{at->first.disk, at->first.generation} == place;
                 ++at) {
                sort_in(cuts, place, at->second, stretches);
            }
            for (auto& [cut, refs] : stretches) {
                CW_TRY(judge_in_parts(place, refs, seen));
            }
        }
        if (!plan_.more) {
            std::erase_if(memory_.settled, [&](const auto& s) { return !seen.contains(s); });
        }
        return std::move(plan_);
    }

private:
    void sort_in(const Cuts& cuts, const Place& place, const SegmentRef& ref,
                 std::map<Seq, std::vector<const SegmentRef*>>& stretches) {
        const auto known = cuts.find(place);
        const bool beyond =
            known == cuts.end() || known->second.lower_bound(ref.last_seq) == known->second.end();
        if (beyond) {  // Above everything that anyone can reach.
            drop(ref);
            return;
        }
        const Seq cut = *known->second.lower_bound(ref.last_seq);
        if (cut != open_end) {
            stretches[cut].push_back(&ref);
        }
    }

    void drop(const SegmentRef& ref) {
        plan_.dead.push_back(ref.name);
        plan_.dead_bytes += ref.object_bytes;
    }

    // Any neighbouring part of a stretch may be judged by itself: it only sees less of what covers.
    Result<void> judge_in_parts(const Place& place, std::vector<const SegmentRef*>& refs,
                                std::set<SpaceMemory::Stretch>& seen) {
        std::ranges::sort(refs, [](const SegmentRef* a, const SegmentRef* b) {
            return std::tuple(a->last_seq, a->name) < std::tuple(b->last_seq, b->name);
        });
        for (std::size_t from = 0; from < refs.size(); from += options_.stretch_segments_max) {
            const std::size_t count = std::min(options_.stretch_segments_max, refs.size() - from);
            const std::span<const SegmentRef* const> part(refs.data() + from, count);
            const SpaceMemory::Stretch key{place.first, place.second, part.front()->name.first_seq,
                                           part.back()->last_seq, count};
            seen.insert(key);
            if (count < 2 || memory_.settled.contains(key)) {
                continue;
            }
            if (read_ + count > options_.segments_max) {
                plan_.more = true;
                return {};
            }
            CW_TRY_ASSIGN(const std::vector<Judged> judged, judge(part));
            if (!decide(judged)) {
                memory_.settled.insert(key);
            }
        }
        return {};
    }

    Result<std::vector<Judged>> judge(std::span<const SegmentRef* const> refs) {
        ++plan_.stretches_read;
        read_ += refs.size();
        std::map<const SegmentRef*, Judged> judged;
        Coverage coverage;
        const std::vector<Layer> layers = order_layers(refs);
        std::vector<std::optional<Result<OpenSegment>>> opened(layers.size());
        std::size_t started = 0;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            for (; started < std::min(layers.size(), i + indexes_ahead); ++started) {
                open_segment(fetcher_, catalog_, *layers[started].ref,
                             [&slot = opened[started]](Result<OpenSegment> segment) {
                                 slot.emplace(std::move(segment));
                             });
            }
            CW_TRY(wait_for(opened, i, started));
            cover(layers[i], (**opened[i]).chunks, coverage, judged[layers[i].ref]);
            opened[i].reset();
        }
        std::vector<Judged> out;
        for (const SegmentRef* const ref : refs) {
            out.push_back(std::move(judged.at(ref)));
        }
        return out;
    }

    // The callbacks write into `opened`: on an error what was started is waited for too.
    Result<void> wait_for(std::vector<std::optional<Result<OpenSegment>>>& opened, std::size_t i,
                          std::size_t started) {
        const auto all_there = [&] {
            return std::all_of(opened.begin() + static_cast<std::ptrdiff_t>(i),
                               opened.begin() + static_cast<std::ptrdiff_t>(started),
                               [](const auto& slot) { return slot.has_value(); });
        };
        bool cancelled = false;
        while (!opened[i] || (cancelled && !all_there())) {
            fetcher_.wait(fetch_wait_slice_ns);
            fetcher_.poll();
            cancelled |= options_.cancelled && options_.cancelled();
        }
        if (!cancelled && *opened[i]) {
            return {};
        }
        while (!all_there()) {
            fetcher_.wait(fetch_wait_slice_ns);
            fetcher_.poll();
        }
        return cancelled ? Result<void>(fail(Errc::cancelled, "while reading indexes"))
                         : Result<void>(std::unexpected(std::move(*opened[i]).error()));
    }

    static void cover(const Layer& layer, const std::vector<vault::Chunk>& chunks,
                      Coverage& coverage, Judged& judged) {
        judged.ref = layer.ref;
        judged.visible.resize(chunks.size());
        for (const vault::Chunk* const chunk : newest_first(layer, chunks)) {
            const std::uint64_t end = chunk->disk_offset + chunk->raw_length;
            if (coverage.cover(chunk->disk_offset, end) > 0) {
                judged.visible[chunk->ordinal] = judged.needed = true;
                judged.alive_bytes += chunk->stored_length;
            }
        }
    }

    // False: everything stays as it is.
    bool decide(const std::vector<Judged>& judged) {
        bool any = false;
        Rewrite group;
        const auto close = [&] {
            any |= take(std::move(group));
            group = {};
        };
        for (const Judged& each : judged) {
            if (!each.needed) {
                drop(*each.ref);
                any = true;
                continue;  // It may lie between two neighbours: nothing of it is left.
            }
            const bool small = each.ref->object_bytes < options_.small_bytes;
            const bool thin = each.dead_bytes() > each.alive_bytes;
            const bool joins = group.from.empty() ||
                               (same_kind(*group.from.back(), *each.ref) &&
                                group.chunks + each.ref->chunk_count <= options_.rewrite_chunks &&
                                group.alive_bytes + each.alive_bytes <= options_.rewrite_bytes);
            if (!joins || !(small || thin)) {
                close();
            }
            if (small || thin) {
                group.from.push_back(each.ref);
                group.visible.push_back(each.visible);
                group.alive_bytes += each.alive_bytes;
                group.dead_bytes += each.dead_bytes();
                group.chunks += each.ref->chunk_count;
            }
        }
        close();
        return any;
    }

    static bool same_kind(const SegmentRef& a, const SegmentRef& b) {
        return a.base == b.base && (!a.base || a.last_seq == b.last_seq);
    }

    // Saves more than it costs, or makes one object of many.
    bool take(Rewrite group) {
        if (group.from.empty() || group.alive_bytes > options_.rewrite_bytes ||
            group.chunks > options_.rewrite_chunks) {
            return false;
        }
        const bool saves =
            group.dead_bytes > group.alive_bytes && group.dead_bytes >= options_.small_bytes / 8;
        if (!saves && group.from.size() < options_.gather_min) {
            return false;
        }
        plan_.rewrites.push_back(std::move(group));
        return true;
    }

    Fetcher& fetcher_;
    const Catalog& catalog_;
    SpaceMemory& memory_;
    const SpaceOptions& options_;
    std::size_t read_ = 0;
    SpacePlan plan_;
};

}  // namespace

Result<SpacePlan> plan_space(Fetcher& fetcher, const Catalog& catalog,
                             const std::set<PointId>& pruned, SpaceMemory& memory,
                             const SpaceOptions& options) {
    CW_ASSERT(options.stretch_segments_max >= 2 &&
              options.segments_max >= options.stretch_segments_max && options.gather_min >= 2);
    return Planner(fetcher, catalog, memory, options).run(cuts_of(catalog.state(), pruned));
}

}  // namespace cw::recovery
