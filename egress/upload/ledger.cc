#include "egress/upload/ledger.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::upload {
namespace {

// A manifest stays a small object, whatever the backlog.
constexpr std::size_t segments_per_manifest_max = 512;
constexpr std::int64_t age_check_ns = 60 * ns_per_s;

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

Ledger::Ledger(vault::ChainState state, const std::vector<std::uint64_t>& checkpoints,
               const EngineOptions& options, Nanos now)
    : state_(std::move(state)),
      options_(options),
      machine_name_(state_.newest.machine_name),
      checkpoints_(checkpoints.begin(), checkpoints.end()),
      extended_(now),
      next_age_check_(now + age_check_ns),
      last_point_(newest_state_point(state_)) {
    checkpoints_.push_back(state_.newest.checkpoint);
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
    entry.stored = stored;
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
    for (const Entry& entry : steps_) {
        if (walk.next.added.size() >= segments_per_manifest_max || !visit(walk, entry, now)) {
            break;
        }
        walk.draft.through = entry.step.id;
    }
    if (!walk.undecided) {
        held_up_ = Nanos{};
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
        first_stored_ = Nanos{INT64_MAX};
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
        if (!held_ && entry.stored && !entry.named &&
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

}  // namespace cw::upload
