#include "egress/upload/ledger.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>

namespace cw::upload {
namespace {

// A manifest stays a small object, whatever the backlog.
constexpr std::size_t segments_per_manifest_max = 512;
constexpr std::int64_t age_check_ns = 60 * ns_per_s;

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

vault::DiskEntry new_entry(const pipeline::DiskHello& hello) {
    vault::DiskEntry entry;
    entry.disk = hello.disk;
    entry.name = hello.name;
    entry.size_bytes = hello.size_bytes;
    entry.generation = hello.generation;
    return entry;
}

// The newest point that is exactly what the chain's newest state is, if any.
std::optional<PointId> newest_state_point(const vault::ChainState& state) {
    const auto current = [&state](const vault::PointEntry::Cut& cut) {
        return std::ranges::any_of(state.newest.disks, [&cut](const vault::DiskEntry& disk) {
            return disk.disk == cut.disk && disk.generation == cut.generation &&
                   disk.committed == cut.cut;
        });
    };
    const vault::PointEntry* newest = nullptr;
    for (const auto& [id, point] : state.points) {
        if (std::ranges::all_of(point.cuts, current) &&
            (newest == nullptr || point.source_time > newest->source_time)) {
            newest = &point;
        }
    }
    return newest == nullptr ? std::nullopt : std::optional(newest->id);
}

}  // namespace

Ledger::Ledger(vault::ChainState state, const EngineOptions& options, Nanos now)
    : state_(std::move(state)),
      options_(options),
      machine_name_(state_.newest.machine_name),
      checkpoints_{state_.newest.checkpoint},
      extended_(now),
      next_age_check_(now + age_check_ns),
      last_point_(newest_state_point(state_)) {
    for (const auto& [id, point] : state_.points) {
        newest_point_time_ = std::max(newest_point_time_.value_or(point.source_time),
                                      std::max(point.source_time, point.valid_until));
    }
}

std::uint64_t Ledger::memory_bytes(const vault::ChainState& state) noexcept {
    constexpr std::uint64_t node = 48;  // Of a tree, as malloc'd.
    constexpr std::uint64_t segment = node + sizeof(vault::SegmentName) + sizeof(vault::SegmentRef);
    constexpr std::uint64_t point = node + sizeof(PointId) + sizeof(vault::PointEntry);
    const std::uint64_t cuts = state.newest.disks.size() * sizeof(vault::PointEntry::Cut);
    return state.segments.size() * segment + state.points.size() * (point + cuts);
}

void Ledger::declare(const std::vector<pipeline::DiskHello>& disks, std::string machine_name) {
    declared_.clear();
    news_ = true;
    for (const pipeline::DiskHello& hello : disks) {
        declared_[hello.disk] = hello;
        const auto known =
            std::ranges::find(state_.newest.disks, hello.disk, &vault::DiskEntry::disk);
        declared_changed_ |= known == state_.newest.disks.end() || known->name != hello.name ||
                             known->size_bytes == 0;
    }
    if (!machine_name.empty() && machine_name != machine_name_) {
        machine_name_ = std::move(machine_name);
        declared_changed_ = true;
    }
}

void Ledger::add(Step step) {
    CW_ASSERT(steps_.empty() || raw(step.id) == raw(steps_.back().step.id) + 1);
    news_ = true;
    if (step.kind == StepKind::point_result) {
        results_[step.result->id] = step.result->committed;
    }
    steps_.emplace_back().step = std::move(step);
}

bool Ledger::stored(SegmentStored stored) {
    if (steps_.empty() || stored.step < steps_.front().step.id ||
        stored.step > steps_.back().step.id) {
        return false;
    }
    Entry& entry = steps_[raw(stored.step) - raw(steps_.front().step.id)];
    CW_ASSERT(entry.step.id == stored.step && entry.step.kind == StepKind::segment);
    entry.stored = std::move(stored);
    news_ = true;
    return true;
}

void Ledger::lost(const SegmentLost& lost) {
    if (!steps_.empty() && lost.step >= steps_.front().step.id &&
        lost.step <= steps_.back().step.id) {
        steps_[raw(lost.step) - raw(steps_.front().step.id)].lost = true;
        news_ = true;
    }
}

vault::Manifest Ledger::next_manifest() const {
    vault::Manifest next;
    next.machine = state_.newest.machine;
    next.number = state_.newest.number + 1;
    next.previous = state_.hash;
    next.epoch = state_.newest.epoch;
    next.writer = state_.newest.writer;
    next.kind = vault::ManifestKind::regular;
    next.boundary = state_.newest.boundary;
    next.checkpoint = state_.newest.checkpoint;
    next.machine_name = machine_name_;
    next.disks = state_.newest.disks;
    return next;
}

std::optional<Draft> Ledger::draft(Nanos now) {
    if (!news_ && now < next_deadline()) {
        return std::nullopt;  // Thousands of idle machines must cost nothing.
    }
    auto draft = correcting() ? draft_correction() : draft_steps(now);
    news_ = draft.has_value();
    return draft;
}

std::optional<Draft> Ledger::draft_steps(Nanos now) {
    provisional_until_ = Nanos{INT64_MAX};
    Walk walk = begin_walk();
    for (Entry& entry : steps_) {
        if (walk.next.added.size() >= segments_per_manifest_max || !visit(walk, entry, now)) {
            break;
        }
        walk.draft.through = entry.step.id;
    }
    return end_walk(std::move(walk), now);
}

Ledger::Walk Ledger::begin_walk() const {
    Walk walk;
    walk.next = next_manifest();
    walk.draft.lost_disks = lost_disks_;
    walk.last_point = last_point_;
    if (!declared_changed_) {
        return walk;
    }
    walk.changed = walk.urgent = walk.draft.declares = true;
    for (const auto& [id, hello] : declared_) {
        if (vault::DiskEntry* const known = find_disk(walk, id); known != nullptr) {
            known->name = hello.name;
            if (known->size_bytes == 0) {  // Made from the cache alone, of an older version.
                known->size_bytes = hello.size_bytes;
            }
        } else {
            walk.next.disks.push_back(new_entry(hello));
        }
    }
    return walk;
}

std::optional<Draft> Ledger::end_walk(Walk walk, Nanos now) {
    apply_prunes(walk);
    if (!deks_.empty()) {
        walk.next.deks = deks_;
        walk.draft.deks = deks_.size();
        walk.changed = walk.urgent = true;
    }
    if (!walk.changed) {
        if (raw(walk.draft.through) == 0) {
            flush_ = false;
            return std::nullopt;
        }
        return std::move(walk.draft);
    }
    if (first_stored_ == Nanos{INT64_MAX}) {
        first_stored_ = now;
    }
    if (!walk.urgent && !flush_ && now - first_stored_ < options_.commit_interval_ns) {
        return std::nullopt;
    }
    if (walk.next.number - state_.newest.checkpoint >= options_.checkpoint_every) {
        return draft_checkpoint();
    }
    for (auto& [id, disk] : walk.disks) {
        walk.draft.told.disks.push_back(std::move(disk));
    }
    walk.draft.manifest = std::move(walk.next);
    return std::move(walk.draft);
}

Draft Ledger::draft_checkpoint() const {
    Draft draft;
    draft.lost_disks = lost_disks_;
    vault::CheckpointPlan plan = vault::plan_checkpoint(state_, options_.runs);
    draft.manifest = std::move(plan.manifest);
    if (checkpoints_.size() >= options_.checkpoints_kept) {
        draft.manifest->boundary = std::max(draft.manifest->boundary, checkpoints_.front());
    }
    draft.runs = std::move(plan.fresh);
    return draft;
}

std::optional<Draft> Ledger::draft_correction() const {
    Draft draft;
    draft.correction = true;
    draft.lost_disks = lost_disks_;
    vault::Manifest next = next_manifest();
    for (const auto& [step, swept] : corrections_) {
        const Entry& entry = steps_[raw(step) - raw(steps_.front().step.id)];
        if (!entry.stored) {
            return std::nullopt;
        }
        next.dropped.push_back(swept);
        next.added.push_back(entry.stored->ref);
        draft.segments.push_back(step);
    }
    draft.manifest = std::move(next);
    return draft;
}

bool Ledger::visit(Walk& walk, Entry& entry, Nanos now) {
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

void Ledger::fold(const Draft& draft, const Sha256& hash) {
    lost_disks_ = draft.lost_disks;
    if (!draft.manifest) {
        return;
    }
    const auto folded = vault::apply_manifest(state_, *draft.manifest, hash, draft.runs);
    CW_ASSERT(folded.has_value());  // It was checked before it was written.
    if (draft.manifest->kind == vault::ManifestKind::checkpoint) {
        checkpoints_.push_back(draft.manifest->number);
        if (checkpoints_.size() > options_.checkpoints_kept) {
            checkpoints_.pop_front();
        }
    }
    for (const StepId step : draft.segments) {
        steps_[raw(step) - raw(steps_.front().step.id)].named = true;
    }
    if (draft.correction) {
        corrections_.clear();
        return;
    }
    prunes_.erase(prunes_.begin(), prunes_.begin() + static_cast<std::ptrdiff_t>(draft.prunes));
    deks_.erase(deks_.begin(), deks_.begin() + static_cast<std::ptrdiff_t>(draft.deks));
    declared_changed_ &= !draft.declares;
}

void Ledger::settle(const Draft& draft, Nanos now) {
    while (!steps_.empty() && steps_.front().step.id <= draft.through) {
        const Step& step = steps_.front().step;
        if (step.result) {
            results_.erase(step.result->id);
        }
        steps_.pop_front();
    }
    if (draft.point) {
        last_point_ = draft.point->id;
        extended_ = now;
    }
    if (draft.point_time) {
        newest_point_time_ =
            std::max(newest_point_time_.value_or(*draft.point_time), *draft.point_time);
    }
    first_stored_ = Nanos{INT64_MAX};
    news_ = true;
}

std::vector<StepId> Ledger::replace(const Draft& draft, const std::set<vault::AttemptId>& swept) {
    std::vector<StepId> again;
    for (const StepId step : draft.segments) {
        Entry& entry = steps_[raw(step) - raw(steps_.front().step.id)];
        if (entry.stored && swept.contains(entry.stored->ref.name.attempt)) {
            corrections_[step] = entry.stored->ref.name;
            entry.stored.reset();
            again.push_back(step);
        }
    }
    return again;
}

std::vector<StepId> Ledger::aged(Nanos now) {
    std::vector<StepId> again;
    if (now < next_age_check_) {
        return again;
    }
    next_age_check_ = now + age_check_ns;
    for (Entry& entry : steps_) {
        if (entry.stored && !entry.named &&
            now - entry.stored->put_started >= options_.segment_age_ns - age_check_ns) {
            entry.stored.reset();
            again.push_back(entry.step.id);
        }
    }
    return again;
}

Nanos Ledger::next_deadline() const {
    Nanos soonest = provisional_until_;
    if (first_stored_ != Nanos{INT64_MAX}) {
        soonest = std::min(soonest, first_stored_ + options_.commit_interval_ns);
    }
    return steps_.empty() ? soonest : std::min(soonest, next_age_check_);
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
