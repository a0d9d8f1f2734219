// The machine's open segments: filled with its records, and sealed when they are full or due, or
// when what follows must not share a segment with what came before.
#include "base/assert.h"
#include "egress/upload/machine_assembly.h"

#include <algorithm>

namespace cw::upload {

using pipeline::RecordType;
using pipeline::StoredRecord;

void MachineAssembly::collect(std::unique_ptr<SegmentWork>& open, StoredRecord stored, Seq after) {
    const HeldRecord held = HeldRecord::of(stored.lsn, stored.record.header);
    const EngineOptions& options = host_.options();
    if (open != nullptr && (open->data_bytes + held.data_bytes > options.segment_raw_bytes ||
                            open->slabs + held.slabs() > options.segment_slabs ||
                            open->extents + held.extents_max() > pipeline::plan_extents_max)) {
        seal(open);
    }
    if (open == nullptr) {
        open = std::make_unique<SegmentWork>();
        open->machine = machine_;
        open->opening = opening_;
        open->key = stored.record.header.key;
        open->base = stored.record.header.type == RecordType::base;
        open->after = after;
        const Nanos now = host_.now();
        const bool known = stored.record.received > Nanos{0} && stored.record.received <= now;
        open->received = known ? stored.record.received : now;
        open->deadline = now + options.seal_after_ns;
    }
    const bool complete = stored.record.has_data() && !stored.record.table.empty();
    if (!complete && !open->dropped) {
        open->drop_payload();
    }
    open->records.push_back(held);
    open->data_bytes += held.data_bytes;
    open->slabs += held.slabs();
    open->extents += held.extents_max();
    if (!open->dropped) {
        open->payload.push_back(std::move(stored.record));
    }
}

void MachineAssembly::seal(std::unique_ptr<SegmentWork>& open) {
    if (open == nullptr) {
        return;
    }
    std::unique_ptr<SegmentWork> work = std::move(open);
    CW_ASSERT(!work->records.empty() && work->phase == SegmentPhase::open);
    work->phase = SegmentPhase::queued;
    work->assembled = host_.now();
    Step step;
    step.kind = StepKind::segment;
    step.disk = work->key.disk;
    step.generation = work->key.generation;
    step.base = work->base;
    step.seq = work->last;
    step.received = work->received;
    step.assembled = work->assembled;
    if (work->base) {
        for (const HeldRecord& held : work->records) {
            step.ordinals.push_back(held.ordinal);
        }
        std::ranges::sort(step.ordinals);
        const auto doubled = std::ranges::unique(step.ordinals);
        step.ordinals.erase(doubled.begin(), doubled.end());
    }
    queue_.push_back(work.get());
    send_step(std::move(step), std::nullopt, std::move(work));
}

void MachineAssembly::seal_disk(Disk& disk) {
    seal(disk.writes);
    seal(disk.base);
}

void MachineAssembly::seal_all() {
    for (auto& [id, disk] : disks_) {
        seal_disk(disk);
    }
}

void MachineAssembly::seal_due(Nanos now) {
    if (!queue_.empty()) {
        return;
    }
    for (auto& [id, disk] : disks_) {
        for (std::unique_ptr<SegmentWork>* open : {&disk.writes, &disk.base}) {
            if (*open != nullptr && (*open)->deadline <= now) {
                seal(*open);
            }
        }
    }
}

Nanos MachineAssembly::next_seal() const {
    Nanos soonest{INT64_MAX};
    if (!queue_.empty()) {
        return soonest;
    }
    for (const auto& [id, disk] : disks_) {
        for (const std::unique_ptr<SegmentWork>* open : {&disk.writes, &disk.base}) {
            if (*open != nullptr) {
                soonest = std::min(soonest, (*open)->deadline);
            }
        }
    }
    return soonest;
}

}  // namespace cw::upload
