// The ledger's walk: what each finished step adds to the next manifest.
#include "base/assert.h"
#include "egress/upload/ledger.h"

#include <algorithm>

namespace cw::upload {
namespace {

void set_bit(ByteVector& bitmap, std::uint32_t index) {
    const std::size_t at = index / 8;
    if (at >= bitmap.size()) {
        bitmap.resize(at + 1);
    }
    bitmap[at] |= std::byte{1} << (index % 8);
}

void keep_slowest(SegmentTimes& slowest, const SegmentTimes& times) {
    slowest.transformed = std::max(slowest.transformed, times.transformed);
    slowest.uploaded = std::max(slowest.uploaded, times.uploaded);
}

}  // namespace

bool Ledger::visit(Walk& walk, const Entry& entry, Nanos now) {
    // Of a history that was replaced before anything of it was published: its agent has begun
    // another, which was declared before this came from the cache.
    const vault::DiskEntry* const disk = find_disk(walk, entry.step.disk);
    if (disk != nullptr && entry.step.generation < disk->generation) {
        return entry.step.kind != StepKind::segment || entry.stored || entry.lost;
    }
    switch (entry.step.kind) {
        case StepKind::segment:
            return visit_segment(walk, entry);
        case StepKind::point:
            return visit_point(walk, entry, now);
        case StepKind::point_result:
            return true;
        case StepKind::fence_begin:
        case StepKind::fence_end:
        case StepKind::resize:
        case StepKind::generation:
            return visit_control(walk, entry.step);
    }
    return false;
}

bool Ledger::visit_segment(Walk& walk, const Entry& entry) {
    const Step& step = entry.step;
    if (entry.lost) {
        walk.draft.lost_disks.insert(step.disk);
        return true;
    }
    if (walk.draft.lost_disks.contains(step.disk)) {
        return true;  // Behind a hole: of no use until the agent has repaired it.
    }
    if (!entry.stored || held_) {
        return false;
    }
    vault::DiskEntry* const disk = find_disk(walk, step.disk);
    CW_ASSERT(disk != nullptr && disk->generation == step.generation);
    pipeline::Committed::Disk& told = told_disk(walk, *disk);
    if (step.base) {
        CW_ASSERT(disk->open_fence == step.seq);
        for (const std::uint32_t ordinal : step.ordinals) {
            set_bit(disk->base_done, ordinal);
        }
        if (told.fence != step.seq) {
            told.fence = step.seq;
            told.base_ordinals.clear();
        }
        told.base_ordinals.insert(told.base_ordinals.end(), step.ordinals.begin(),
                                  step.ordinals.end());
    } else {
        CW_ASSERT(step.seq > disk->committed);
        disk->committed = step.seq;
        told.committed = step.seq;
    }
    walk.next.added.push_back(entry.stored->ref);
    walk.draft.segments.push_back(step.id);
    keep_slowest(walk.draft.slowest, entry.stored->times);
    walk.changed = true;
    return true;
}

bool Ledger::visit_control(Walk& walk, const Step& step) {
    // A point stands for the state at the end of its manifest's steps: a fence, its end or another
    // history must not change that state.
    if (!walk.next.points.empty()) {
        return false;
    }
    if (step.kind == StepKind::generation) {
        if (hides_history(walk, step)) {
            return false;
        }
        visit_generation(walk, step);
        return true;
    }
    if (walk.draft.lost_disks.contains(step.disk) && !step.repairs) {
        return true;
    }
    walk.draft.lost_disks.erase(step.disk);
    vault::DiskEntry* const disk = find_disk(walk, step.disk);
    CW_ASSERT(disk != nullptr && disk->generation == step.generation);
    CW_ASSERT(step.seq > disk->committed);
    disk->committed = step.seq;
    if (step.kind == StepKind::fence_begin) {
        disk->open_fence = step.seq;
        disk->base_done.clear();
        // The whole disk is compared under this fence: a changed size takes effect with it.
        disk->size_bytes = size_after(step, disk->size_bytes);
    } else if (step.kind == StepKind::fence_end) {
        disk->protected_ = disk->protected_ || raw(disk->open_fence) != 0;
        disk->open_fence = Seq{};
        disk->base_done.clear();
    } else {
        disk->size_bytes = size_after(step, disk->size_bytes);
    }
    told_disk(walk, *disk).committed = step.seq;
    walk.changed = walk.urgent = true;
    return true;
}

// A manifest names one history of a disk, the newest. One that this walk began and that holds
// something must be published before its child, or readers would never learn what it stands on.
bool Ledger::hides_history(Walk& walk, const Step& step) const {
    const vault::DiskEntry* const disk = find_disk(walk, step.disk);
    return disk != nullptr && step.generation > disk->generation && raw(disk->committed) > 0 &&
           !state_.lineage.contains({disk->disk, disk->generation});
}

// The record says what it was when it was made; one of an older log does not, but its agent may
// have come back.
std::uint64_t Ledger::size_after(const Step& step, std::uint64_t before) const {
    if (step.size_bytes > 0) {
        return step.size_bytes;
    }
    const auto declared = declared_.find(step.disk);
    const bool known =
        declared != declared_.end() && declared->second.generation == step.generation;
    return known && step.kind != StepKind::resize ? declared->second.size_bytes : before;
}

// A child history lies over what was committed of its parent; one that committed nothing has no
// content of its own to stand on, so its parent is inherited.
void Ledger::visit_generation(Walk& walk, const Step& step) const {
    walk.changed = walk.urgent = true;
    walk.draft.lost_disks.erase(step.disk);
    const auto declared = declared_.find(step.disk);
    const bool known =
        declared != declared_.end() && declared->second.generation == step.generation;
    vault::DiskEntry* disk = find_disk(walk, step.disk);
    if (disk == nullptr) {
        vault::DiskEntry fresh;
        fresh.disk = step.disk;
        fresh.generation = step.generation;
        walk.next.disks.push_back(fresh);
        disk = &walk.next.disks.back();
    } else if (step.generation == disk->generation) {
        CW_ASSERT(raw(disk->committed) == 0);  // Declared before its first record came.
        return;
    } else {
        CW_ASSERT(step.generation > disk->generation);
        // Content beyond the new end must not shine through.
        if (size_after(step, disk->size_bytes) < disk->size_bytes) {
            disk->parent_generation = Generation{};
            disk->parent_seq = Seq{};
        } else if (raw(disk->committed) > 0) {
            CW_ASSERT(state_.lineage.contains({disk->disk, disk->generation}));
            disk->parent_generation = disk->generation;
            disk->parent_seq = disk->committed;
        }
        disk->generation = step.generation;
        disk->committed = Seq{};
        disk->protected_ = false;
        disk->open_fence = Seq{};
        disk->base_done.clear();
    }
    disk->size_bytes = size_after(step, disk->size_bytes);
    if (known) {
        disk->name = declared->second.name;
    }
    pipeline::Committed::Disk& told = told_disk(walk, *disk);
    told = {};
    told.disk = disk->disk;
    told.generation = disk->generation;
}

vault::DiskEntry* Ledger::find_disk(Walk& walk, const DiskId& disk) {
    const auto at = std::ranges::find(walk.next.disks, disk, &vault::DiskEntry::disk);
    return at == walk.next.disks.end() ? nullptr : &*at;
}

pipeline::Committed::Disk& Ledger::told_disk(Walk& walk, const vault::DiskEntry& disk) {
    pipeline::Committed::Disk& told = walk.disks[disk.disk];
    told.disk = disk.disk;
    told.generation = disk.generation;
    told.committed = std::max(told.committed, disk.committed);
    return told;
}

}  // namespace cw::upload
