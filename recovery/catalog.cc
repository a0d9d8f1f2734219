#include "recovery/catalog.h"

#include "base/log.h"
#include "egress/vault/names.h"
#include "egress/vault/told_state.h"

#include <algorithm>
#include <map>
#include <span>
#include <tuple>

namespace cw::recovery {
namespace {

using vault::PointEntry;
using vault::PointKind;
using vault::SegmentRef;

constexpr std::size_t id_prefix_min = 4, affected_shown_max = 5;

bool is_id_prefix(std::string_view text) {
    return text.size() >= id_prefix_min &&
           text.find_first_not_of("0123456789abcdefABCDEF-") == std::string_view::npos;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

// True if `ref` belongs to the image of (its generation, cut). A base segment's last sequence is
// its fence: it lies below the cut exactly if the synchronisation began before it, and no point is
// published while one is open.
bool visible(const SegmentRef& ref, Seq cut) {
    return ref.last_seq <= cut;
}

// Of a chain: that it, or its end, is not there as it was written. What cannot be reached is not
// lost.
bool means_loss(Errc code) {
    return code == Errc::object_corrupt || code == Errc::blob_not_found ||
           code == Errc::vault_rolled_back;
}

// Points of one manifest, where a disk has one generation: by what they hold of the disks that all
// of them have, which grows whatever the clocks did. Those that hold the same are of one history
// at different times.
void sort_within_manifest(std::span<const PointEntry*> points) {
    std::map<DiskId, std::size_t> had;
    for (const PointEntry* point : points) {
        for (const PointEntry::Cut& cut : point->cuts) {
            ++had[cut.disk];
        }
    }
    const auto order_of = [&](const PointEntry* point) {
        std::uint64_t progress = 0;
        for (const PointEntry::Cut& cut : point->cuts) {
            progress += had[cut.disk] == points.size() ? raw(cut.cut) : 0;
        }
        return std::tuple(progress, point->source_time, point->id);
    };
    std::ranges::sort(points, {}, order_of);
}

}  // namespace

Result<Catalog> Catalog::open(blob::BlobStore& store, vault::KeyService& kek,
                              const MachineId& machine, const CatalogOptions& options) {
    Catalog catalog;
    CW_TRY_ASSIGN(catalog.vault_, vault::open_vault(store));
    auto keys = vault::open_machine_keys(store, kek, catalog.vault_, machine, nullptr);
    if (!keys) {
        if (keys.error().code == Errc::blob_not_found && options.witness.number > 0) {
            return fail(Errc::vault_rolled_back, "the vault knows nothing of machine " +
                                                     to_string(machine) + ", but manifest " +
                                                     std::to_string(options.witness.number) +
                                                     " was committed");
        }
        if (keys.error().code == Errc::blob_not_found) {
            return fail(Errc::not_found, "the vault has no keys of machine " + to_string(machine));
        }
        return std::unexpected(std::move(keys).error());
    }
    catalog.keys_ = std::move(*keys);
    auto read = read_chain(store, catalog.vault_, catalog.keys_, {&options.witness, 1});
    if (!read && options.accept_stale && means_loss(read.error().code)) {
        catalog.lost_ = std::move(read).error();
        read = read_chain_accepting_stale(store, catalog.vault_, catalog.keys_);
    }
    CW_TRY_ASSIGN(auto state, std::move(read));
    if (!state) {
        return fail(Errc::not_found, "the vault has no manifests of machine " + to_string(machine));
    }
    catalog.state_ = std::move(*state);
    if (catalog.lost_) {
        log_warning("recovery.chain.cut", {{"machine", machine},
                                           {"proven_through", catalog.state_.newest.number},
                                           {"newest_time", time_text(catalog.state_.newest.time)},
                                           {"error", *catalog.lost_}});
        return catalog;
    }
    CW_TRY(catalog.stand_on_what_was_told(store));
    return catalog;
}

// What the newest manifest has dropped may be all that is left of points that were told of, if what
// it names instead was collected before it was named.
Result<void> Catalog::stand_on_what_was_told(blob::BlobStore& store) {
    const auto marks = vault::read_gc_boundary(store, vault_, machine());
    if (!marks && action_of(marks.error().code) != Action::stop) {
        return std::unexpected(marks.error());
    }
    if (!marks || !*marks) {
        return {};  // A note that cannot be believed counts as absent, as everywhere.
    }
    CW_TRY_ASSIGN(const auto announced, find_announced(store, state_, **marks));
    if (announced.gone.empty()) {
        return {};
    }
    auto told = told_state(store, vault_, keys_, state_, announced);
    if (!told && !means_loss(told.error().code)) {
        return std::unexpected(std::move(told).error());
    }
    if (!told || !*told) {
        return {};  // Damage: whoever reads what is missing is told.
    }
    const auto next = vault::manifest_blob(machine(), state_.newest.number + 1);
    const auto moved = blob::head_and_wait(store, next);
    if (moved || moved.error().code != Errc::blob_not_found) {
        return moved ? fail(Errc::blob_unavailable, to_string(next) + " was made meanwhile")
                     : Result<void>(std::unexpected(moved.error()));
    }
    for (const auto& [name, ref] : state_.segments) {
        if (!(**told).segments.contains(name)) {
            untold_.insert(name);
        }
    }
    log_warning("recovery.manifests.untold", {{"machine", machine()},
                                              {"after", (**told).newest.number},
                                              {"through", state_.newest.number},
                                              {"segments_gone", announced.gone.size()}});
    state_ = std::move(**told);
    return {};
}

Catalog Catalog::of_points(const vault::VaultIdentity& records, const MachineId& machine,
                           vault::ChainState state, const FingerprintSecret& secret) {
    Catalog catalog;
    catalog.vault_ = records;
    catalog.keys_.machine = machine;
    catalog.keys_.fingerprint_secret = secret;
    catalog.state_ = std::move(state);
    return catalog;
}

std::vector<const PointEntry*> Catalog::points() const {
    std::vector<const PointEntry*> out;
    out.reserve(state_.points.size());
    for (const auto& [id, point] : state_.points) {
        out.push_back(&point);
    }
    std::ranges::sort(out, {}, &PointEntry::manifest);
    for (auto begin = out.begin(); begin != out.end();) {
        const auto end = std::find_if(begin, out.end(), [&](const PointEntry* point) {
            return point->manifest != (*begin)->manifest;
        });
        sort_within_manifest({begin, end});
        begin = end;
    }
    return out;
}

Result<const PointEntry*> Catalog::find_point(std::string_view which) const {
    const auto all = points();
    const auto newest = [&all](auto accept) -> Result<const PointEntry*> {
        const auto at = std::find_if(all.rbegin(), all.rend(), accept);
        if (at == all.rend()) {
            return fail(Errc::point_not_found);
        }
        return *at;
    };
    if (which == "latest") {
        return newest([](const PointEntry*) { return true; });
    }
    if (which == "latest-app") {
        return newest([](const PointEntry* p) { return p->kind == PointKind::app; });
    }
    if (which.find(':') != std::string_view::npos) {
        CW_TRY_ASSIGN(const WallMicros time, parse_time(which));
        return newest([time](const PointEntry* p) { return p->source_time <= time; });
    }
    if (!is_id_prefix(which)) {
        return fail(Errc::usage, "a point is latest, latest-app, an id or a time, not '" +
                                     escape_for_display(which) + "'");
    }
    const std::string prefix = lower(which);
    const PointEntry* found = nullptr;
    for (const PointEntry* point : all) {
        if (to_string(point->id).starts_with(prefix)) {
            if (found != nullptr) {
                return fail(Errc::usage, "more than one point begins with " + prefix);
            }
            found = point;
        }
    }
    if (found == nullptr) {
        return fail(Errc::point_not_found, prefix);
    }
    return found;
}

DiskAtPoint Catalog::disk_at(const PointEntry::Cut& cut) const {
    DiskAtPoint out{cut.disk, {}, cut.generation, cut.cut, cut.size_bytes};
    const auto& disks = state_.newest.disks;
    const auto entry = std::ranges::find(disks, cut.disk, &vault::DiskEntry::disk);
    if (entry != disks.end()) {
        out.name = entry->name;
    }
    if (out.size_bytes == 0) {
        const auto generation = state_.lineage.find({cut.disk, cut.generation});
        out.size_bytes = generation == state_.lineage.end() ? 0 : generation->second.size_bytes;
    }
    return out;
}

Result<DiskAtPoint> Catalog::find_disk(const PointEntry& point, std::string_view which) const {
    const PointEntry::Cut* found = nullptr;
    for (const PointEntry::Cut& cut : point.cuts) {
        const bool wanted =
            which.empty() || to_string(cut.disk) == lower(which) || disk_at(cut).name == which;
        if (wanted && found != nullptr) {
            return fail(Errc::usage, "more than one disk fits: name one by its id");
        }
        found = wanted ? &cut : found;
    }
    if (found == nullptr) {
        return fail(Errc::not_found, "the point has no disk '" + escape_for_display(which) + "'");
    }
    return disk_at(*found);
}

Result<std::vector<const SegmentRef*>> Catalog::segments_of(const PointEntry::Cut& cut) const {
    std::vector<const SegmentRef*> out;
    Generation generation = cut.generation;
    Seq seq = cut.cut;
    while (raw(generation) != 0) {
        const auto lineage = state_.lineage.find({cut.disk, generation});
        if (lineage == state_.lineage.end()) {
            return fail(Errc::object_corrupt, "the manifests do not know generation " +
                                                  std::to_string(raw(generation)) + " of disk " +
                                                  to_string(cut.disk));
        }
        vault::SegmentName low;  // Names sort by machine, disk, generation.
        low.machine = machine();
        low.disk = cut.disk;
        low.generation = generation;
        for (auto at = state_.segments.lower_bound(low);
             at != state_.segments.end() && at->first.machine == low.machine &&
             at->first.disk == low.disk && at->first.generation == generation;
             ++at) {
            const SegmentRef& ref = at->second;
            if (visible(ref, seq)) {
                out.push_back(&ref);
            } else if (!ref.base && ref.name.first_seq <= seq) {
                return fail(Errc::object_corrupt,
                            to_string(segment_blob(ref.name)) + " spans sequence " +
                                std::to_string(raw(seq)) + ", where the point is cut");
            }
        }
        if (lineage->second.parent_generation >= generation) {
            return fail(Errc::object_corrupt, "a generation is its own ancestor");
        }
        seq = lineage->second.parent_seq;
        generation = lineage->second.parent_generation;
    }
    return out;
}

std::string Catalog::affected_by(const vault::SegmentName& segment) const {
    std::size_t count = 0;
    std::string names;
    for (const PointEntry* point : points()) {
        const bool needs = std::ranges::any_of(point->cuts, [&](const PointEntry::Cut& cut) {
            const auto segments =
                cut.disk == segment.disk ? segments_of(cut) : std::vector<const SegmentRef*>{};
            return segments && std::ranges::any_of(*segments, [&](const SegmentRef* ref) {
                       return ref->name == segment;
                   });
        });
        if (needs && ++count <= affected_shown_max) {
            names += (count == 1 ? " " : ", ") + to_string(point->id);
        }
    }
    names += count > affected_shown_max ? ", …" : "";
    return " (needed by " + std::to_string(count) + " recovery points:" + names + ")";
}

std::string_view name_of(PointKind kind) noexcept {
    switch (kind) {
        case PointKind::crash:
            return "crash";
        case PointKind::filesystem:
            return "filesystem";
        case PointKind::app:
            return "app";
        case PointKind::planned:
            return "planned";
    }
    return "unknown";
}

}  // namespace cw::recovery
