// The ledger's rules for recovery points and their pruning.
#include "base/assert.h"
#include "base/log.h"
#include "egress/upload/ledger.h"

#include <algorithm>

namespace cw::upload {
namespace {

constexpr std::size_t dropped_per_manifest_max = 65536;

bool same_cuts(const vault::PointEntry& entry, const pipeline::Point& point) {
    return entry.cuts.size() == point.cuts.size() &&
           std::ranges::all_of(point.cuts, [&entry](const pipeline::DiskCut& cut) {
               return std::ranges::any_of(entry.cuts, [&cut](const vault::PointEntry::Cut& other) {
                   return other.disk == cut.disk && other.generation == cut.generation &&
                          other.cut == cut.cut;
               });
           });
}

vault::PointEntry entry_of(const pipeline::Point& point, const GroupId& group) {
    vault::PointEntry entry;
    entry.id = point.id;
    entry.kind = static_cast<vault::PointKind>(point.kind);
    entry.group = group;
    entry.source_time = point.source_time;
    entry.valid_until = point.source_time;
    entry.uncertainty_us = point.uncertainty_us;
    entry.tag = point.tag;
    for (const pipeline::DiskCut& cut : point.cuts) {
        entry.cuts.push_back({.disk = cut.disk,
                              .generation = cut.generation,
                              .cut = cut.cut,
                              .stream_hash = cut.stream_hash});
    }
    return entry;
}

}  // namespace

bool Ledger::visit_point(Walk& walk, const Entry& entry, Nanos now) {
    const pipeline::Point& point = *entry.step.point;
    GroupId group = point.group;
    if (point.provisional) {
        const auto result = results_.find(point.id);
        if (result == results_.end()) {
            // From when it could go on but for its group; all that wait behind it wait with it.
            walk.undecided = true;
            held_up_ = raw(held_up_) == 0 ? now : held_up_;
            const Nanos since = std::max(entry.step.assembled, held_up_);
            if (now - since < options_.provisional_ns) {
                provisional_until_ = since + options_.provisional_ns;
                return false;  // Its group has not decided yet.
            }
        }
        if (result == results_.end() || !result->second) {
            group = GroupId{};
        }
    }
    if (state_.points.contains(point.id)) {
        tell(walk, point, pipeline::PointState::committed, state_.points.at(point.id).manifest);
        return true;
    }
    // Unreadable when the cache was opened, its record was not known when the agent sent it again;
    // readable after the next start, it is there twice.
    if (std::ranges::find(walk.next.points, point.id, &vault::PointEntry::id) !=
        walk.next.points.end()) {
        return true;
    }
    const std::vector<DiskId> gone = departed(walk, point);
    if (!gone.empty() && !walk.next.points.empty()) {
        return false;  // The points before still cover those disks: they need a manifest first.
    }
    for (const DiskId& disk : gone) {
        find_disk(walk, disk)->protected_ = false;
        walk.changed = true;
    }
    if (std::string fault = fault_in(walk, point); !fault.empty()) {
        tell(walk, point, pipeline::PointState::dropped, 0, std::move(fault));
        return true;
    }
    walk.draft.point_time =
        std::max(walk.draft.point_time.value_or(point.source_time), point.source_time);
    walk.draft.point_received = entry.step.received;
    walk.draft.point_assembled = entry.step.assembled;
    if (same_as_last(walk, point, group)) {
        tell_same(walk, point, now);
    } else {
        publish_point(walk, entry.step, group);
    }
    return true;
}

std::vector<DiskId> Ledger::departed(const Walk& walk, const pipeline::Point& point) const {
    std::vector<DiskId> gone;
    for (const vault::DiskEntry& disk : walk.next.disks) {
        const bool cut = std::ranges::any_of(point.cuts, [&disk](const pipeline::DiskCut& other) {
            return other.disk == disk.disk;
        });
        if (disk.protected_ && !cut && is_left_out(disk.disk)) {
            gone.push_back(disk.disk);
        }
    }
    return gone;
}

std::string Ledger::fault_in(const Walk& walk, const pipeline::Point& point) {
    if (point.cuts.empty()) {
        return "the point names no disk";
    }
    std::set<DiskId> seen;
    for (const pipeline::DiskCut& cut : point.cuts) {
        const std::string disk_text = "disk " + to_string(cut.disk);
        const auto disk = std::ranges::find(walk.next.disks, cut.disk, &vault::DiskEntry::disk);
        if (disk == walk.next.disks.end() || !seen.insert(cut.disk).second) {
            return disk_text + " is unknown or named twice";
        }
        if (walk.draft.lost_disks.contains(cut.disk)) {
            return disk_text + ": writes before the point were damaged in the cache";
        }
        if (disk->generation != cut.generation) {
            return disk_text + " has another history now";
        }
        if (raw(disk->open_fence) != 0) {
            return disk_text + " is being synchronised";
        }
        if (!disk->protected_) {
            return disk_text + " has not been synchronised yet";
        }
        if (cut.cut > disk->committed) {
            return disk_text + ": writes before the point are missing here (takeover)";
        }
        if (cut.cut < disk->committed) {
            return disk_text + ": a newer state is committed already";
        }
    }
    for (const vault::DiskEntry& disk : walk.next.disks) {
        if (disk.protected_ && !seen.contains(disk.disk)) {
            return "disk " + to_string(disk.disk) + " is missing from the point";
        }
    }
    return {};
}

const vault::PointEntry* Ledger::last_point(const Walk& walk) const {
    if (!walk.last_point) {
        return nullptr;
    }
    const auto drafted =
        std::ranges::find(walk.next.points, *walk.last_point, &vault::PointEntry::id);
    if (drafted != walk.next.points.end()) {
        return &*drafted;
    }
    const auto known = state_.points.find(*walk.last_point);
    return known == state_.points.end() ? nullptr : &known->second;
}

// A point that promises more than the last one (a group, an application's word, a person's tag) is
// written even when no byte changed: it would otherwise be missing where people look for it.
bool Ledger::same_as_last(const Walk& walk, const pipeline::Point& point,
                          const GroupId& group) const {
    const vault::PointEntry* const last = last_point(walk);
    if (last == nullptr || !same_cuts(*last, point)) {
        return false;
    }
    const bool promises_more = point.kind != pipeline::PointKind::crash &&
                               static_cast<vault::PointKind>(point.kind) != last->kind;
    return !promises_more && group.is_nil() && point.tag.empty();
}

void Ledger::tell_same(Walk& walk, const pipeline::Point& point, Nanos now) const {
    const vault::PointEntry* const last = last_point(walk);
    const auto drafted = std::ranges::find(walk.next.points, last->id, &vault::PointEntry::id);
    const bool in_draft = drafted != walk.next.points.end();
    tell(walk, point, pipeline::PointState::same_as, in_draft ? walk.next.number : last->manifest);
    if (in_draft) {
        drafted->valid_until = std::max(drafted->valid_until, point.source_time);
        return;
    }
    if (now - extended_ < options_.same_as_interval_ns || point.source_time <= last->valid_until) {
        return;
    }
    vault::PointEntry extended = *last;
    extended.valid_until = point.source_time;
    walk.draft.point = extended;
    walk.next.points.push_back(std::move(extended));
    walk.changed = walk.urgent = true;
}

void Ledger::tell(Walk& walk, const pipeline::Point& point, pipeline::PointState state,
                  std::uint64_t number, std::string reason) {
    walk.draft.told.points.push_back(
        {.id = point.id, .state = state, .manifest_number = number, .reason = std::move(reason)});
    walk.draft.kinds.push_back(point.kind);
}

void Ledger::publish_point(Walk& walk, const Step& step, const GroupId& group) const {
    vault::PointEntry entry = entry_of(*step.point, group);
    for (vault::PointEntry::Cut& cut : entry.cuts) {
        cut.size_bytes = find_disk(walk, cut.disk)->size_bytes;
    }
    tell(walk, *step.point, pipeline::PointState::committed, walk.next.number);
    walk.last_point = entry.id;
    walk.draft.point = entry;
    walk.next.points.push_back(std::move(entry));
    walk.changed = walk.urgent = true;
}

void Ledger::apply_prunes(Walk& walk) {
    bool any = false;
    for (const PruneCommand& command : prunes_) {
        if (walk.draft.prunes > 0) {
            break;  // One decision per manifest: the next is judged against what this one leaves.
        }
        ++walk.draft.prunes;
        if (!prune_allowed(command)) {
            log_warning("upload.prune.refused", {{"machine", state_.newest.machine},
                                                 {"decided_at", command.decided_at},
                                                 {"points", command.points.size()},
                                                 {"segments", command.dropped.size()}});
            continue;
        }
        any = true;
        walk.next.pruned = command.points;
        walk.next.dropped = command.dropped;
        walk.next.added.insert(walk.next.added.end(), command.added.begin(), command.added.end());
    }
    if (walk.draft.prunes > 0 && !any) {
        prunes_.pop_front();
        walk.draft.prunes = 0;
    }
    if (!any) {
        return;
    }
    // A point of this very draft may extend one that is pruned: then it is not.
    std::erase_if(walk.next.points, [&walk](const vault::PointEntry& point) {
        return std::ranges::find(walk.next.pruned, point.id) != walk.next.pruned.end();
    });
    retire_departed(walk);
    drop_dead_generations(walk);
    walk.changed = walk.urgent = true;
}

bool Ledger::prune_allowed(const PruneCommand& command) const {
    if (command.decided_at > state_.newest.number) {
        return false;
    }
    const auto doubled = [](auto names) {
        std::ranges::sort(names);
        return std::ranges::adjacent_find(names) != names.end();
    };
    if (doubled(command.points) || doubled(command.dropped)) {
        return false;
    }
    const bool points_known = std::ranges::all_of(
        command.points, [this](const PointId& id) { return state_.points.contains(id); });
    // A segment that came after the decision was not judged by it.
    const bool segments_known =
        std::ranges::all_of(command.dropped, [&](const vault::SegmentName& name) {
            const auto alive = state_.segments.find(name);
            return alive != state_.segments.end() && alive->second.manifest <= command.decided_at;
        });
    std::set<vault::SegmentName> added;
    const bool additions_fresh =
        std::ranges::all_of(command.added, [&](const vault::SegmentRef& ref) {
            return !state_.segments.contains(ref.name) && added.insert(ref.name).second;
        });
    return points_known && segments_known && additions_fresh;
}

// A disk that a point has left out is compared when it comes back, never gone on with. Once no
// retained point names it there is nobody left for what it holds: an empty history takes its place,
// so that what is in the vault dies and the disk, should it come back, is copied whole. An agent
// that was answered just before, and compares with what is let go of here, is safe because nothing
// is called equal to it before the chain holds the very history and fence that it asks for
// (DigestDesk).
void Ledger::retire_departed(Walk& walk) const {
    std::set<DiskId> named;
    const auto name_disks = [&named](const vault::PointEntry& point) {
        for (const vault::PointEntry::Cut& cut : point.cuts) {
            named.insert(cut.disk);
        }
    };
    std::ranges::for_each(walk.next.points, name_disks);
    const std::set<PointId> pruned(walk.next.pruned.begin(), walk.next.pruned.end());
    for (const auto& [id, point] : state_.points) {
        if (!pruned.contains(id)) {
            name_disks(point);
        }
    }
    for (vault::DiskEntry& disk : walk.next.disks) {
        const bool left_out =
            !disk.protected_ && raw(disk.open_fence) == 0 && raw(disk.committed) > 0;
        if (!left_out || named.contains(disk.disk) || declared_.contains(disk.disk) ||
            lost_disks_.contains(disk.disk)) {
            continue;
        }
        log_info("upload.disk.retired", {{"machine", state_.newest.machine}, {"disk", disk.disk}});
        disk.generation = Generation{raw(disk.generation) + 1};
        disk.parent_generation = Generation{};
        disk.parent_seq = Seq{};
        disk.committed = Seq{};
    }
}

// What lies above everything that a retained point or the newest state can reach through the
// generations' parents is dead by its place alone, whatever its chunks are.
void Ledger::drop_dead_generations(Walk& walk) const {
    using Place = std::pair<DiskId, Generation>;
    std::map<Place, Seq> needed;  // Highest sequence that someone sees, per generation.
    const auto need = [this, &needed](const DiskId& disk, Generation generation, Seq seq) {
        while (raw(generation) != 0) {
            Seq& highest = needed[{disk, generation}];
            highest = std::max(highest, seq);
            const auto origin = state_.lineage.find({disk, generation});
            if (origin == state_.lineage.end()) {
                return;
            }
            generation = origin->second.parent_generation;
            seq = origin->second.parent_seq;
        }
    };
    for (const vault::DiskEntry& disk : walk.next.disks) {
        need(disk.disk, disk.generation, Seq{UINT64_MAX});
        need(disk.disk, disk.parent_generation, disk.parent_seq);
    }
    const auto need_point = [&need](const vault::PointEntry& point) {
        for (const vault::PointEntry::Cut& cut : point.cuts) {
            need(cut.disk, cut.generation, cut.cut);
        }
    };
    std::ranges::for_each(walk.next.points, need_point);
    const std::set<PointId> pruned(walk.next.pruned.begin(), walk.next.pruned.end());
    for (const auto& [id, point] : state_.points) {
        if (!pruned.contains(id)) {
            need_point(point);
        }
    }
    const std::set<vault::SegmentName> named(walk.next.dropped.begin(), walk.next.dropped.end());
    for (const auto& [name, ref] : state_.segments) {
        const auto reach = needed.find({name.disk, name.generation});
        const bool dead = reach == needed.end() || name.first_seq > reach->second;
        if (walk.next.dropped.size() >= dropped_per_manifest_max) {
            break;  // The rest is as dead at the next decision.
        }
        if (dead && !named.contains(name)) {
            walk.next.dropped.push_back(name);
        }
    }
}

}  // namespace cw::upload
