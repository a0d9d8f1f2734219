// The machine's sealed steps: taken by jobs, committed, given up, or held again.
#include "base/assert.h"
#include "base/log.h"
#include "egress/upload/machine_assembly.h"

#include <algorithm>
#include <bit>

namespace cw::upload {

void MachineAssembly::committed(StepId through) {
    while (!steps_.empty() && steps_.front().id <= through) {
        finish(steps_.front());
        steps_.pop_front();
    }
}

void MachineAssembly::finish(Entry& entry) {
    Disk* const disk = entry.key.disk.is_nil() ? nullptr : &disks_[entry.key.disk];
    if (entry.abandoned) {
        CW_ASSERT(disk != nullptr && entry.segment == nullptr);
        for (const Waiting& waiting : entry.records) {
            skip(*disk, waiting);
        }
        return;
    }
    if (disk != nullptr && disk->generation == entry.key.generation) {
        disk->committed = std::max(disk->committed, entry.seq);
    }
    for (const Waiting& waiting : entry.records) {
        release(waiting.held);
    }
    if (entry.segment != nullptr) {
        CW_ASSERT(entry.segment->phase == SegmentPhase::stored);
        for (const HeldRecord& held : entry.segment->records) {
            release(held);
        }
    }
    if (entry.kind == StepKind::fence_end || entry.kind == StepKind::generation ||
        (entry.kind == StepKind::fence_begin && entry.repairs)) {
        release_skipped(entry);
    }
}

// What lay behind damage has been replaced: by the BASE beneath the fence that just ended, or by a
// new generation. Or can be published no more: the vault is where the fence begins that repairs it.
// It may have filled the cache, and the BASE beneath that fence needs room.
void MachineAssembly::release_skipped(const Entry& end) {
    std::vector<Waiting>& skipped = disks_[end.key.disk].skipped;
    // BASE has the sequence of its fence, which may need it yet.
    const Seq last = end.kind == StepKind::fence_begin ? Seq{raw(end.seq) - 1} : end.seq;
    const auto replaced = [&end, last](const Waiting& waiting) {
        return waiting.key.generation < end.key.generation ||
               (waiting.key.generation == end.key.generation && waiting.held.seq <= last);
    };
    for (const Waiting& waiting : skipped) {
        if (replaced(waiting)) {
            host_.set_aside(-1);
            release(waiting.held);
        }
    }
    std::erase_if(skipped, replaced);
}

std::vector<std::unique_ptr<SegmentWork>> MachineAssembly::stop(bool discard) {
    std::vector<std::unique_ptr<SegmentWork>> retired;
    std::deque<Waiting> line;
    for (Entry& entry : steps_) {
        line.insert(line.end(), entry.records.begin(), entry.records.end());
        if (entry.segment != nullptr) {
            hold_segment(*entry.segment, line);
            retired.push_back(retire(entry));
        }
    }
    for (auto& [id, disk] : disks_) {
        for (const std::unique_ptr<SegmentWork>* open : {&disk.writes, &disk.base}) {
            if (*open != nullptr) {
                hold_segment(**open, line);
            }
        }
        line.insert(line.end(), disk.skipped.begin(), disk.skipped.end());
        host_.set_aside(-std::ssize(disk.skipped));
    }
    if (reading_) {
        line.push_back(*reading_);
    }
    line.insert(line.end(), held_.begin(), held_.end());
    held_ = std::move(line);
    reading_.reset();
    steps_.clear();
    queue_.clear();
    disks_.clear();
    active_ = false;
    keys_.reset();
    if (discard) {
        for (const Waiting& waiting : held_) {
            release(waiting.held);
        }
        held_.clear();
    }
    return retired;
}

template <typename Line>
void MachineAssembly::hold_segment(const SegmentWork& work, Line& line) {
    for (const HeldRecord& held : work.records) {
        line.push_back({work.key, work.record_type(), held});
    }
}

std::unique_ptr<SegmentWork> MachineAssembly::retire(Entry& entry) {
    std::erase(queue_, entry.segment.get());
    entry.segment->orphaned = true;
    return std::move(entry.segment);
}

void MachineAssembly::allow_repair(const DiskId& disk, SessionId session) {
    // Also of a disk of which nothing has come yet: what is damaged may be its first copy.
    disks_[disk].repair_session = session;
}

// It can be published no more. It is kept while it does no harm: what cannot be read today can
// perhaps tomorrow, should the agent never come to repair it.
bool MachineAssembly::let_go_behind_damage() {
    std::size_t released = 0;
    for (auto& [id, disk] : disks_) {
        if (!disk.damaged || raw(disk.repair_session) == 0) {
            continue;
        }
        released += std::erase_if(disk.skipped, [&](const Waiting& waiting) {
            // Its BASE may have overtaken the fence.
            const bool of_repair = waiting.held.session == disk.repair_session;
            if (!of_repair) {
                host_.set_aside(-1);
                release(waiting.held);
            }
            return !of_repair;
        });
    }
    if (released > 0) {
        log_warning("upload.records.given_up", {{"machine", machine_},
                                                {"records", released},
                                                {"reason",
                                                 "the cache has no room for the repair "
                                                 "of the damage in front of them"}});
    }
    return released > 0;
}

bool MachineAssembly::repaired(const SegmentWork& work) const {
    const auto disk = disks_.find(work.key.disk);
    if (disk != disks_.end() && disk->second.generation > work.key.generation) {
        return true;  // Another history has replaced it.
    }
    return std::ranges::any_of(steps_, [&work](const Entry& entry) {
        return entry.repairs && entry.id > work.step && entry.key == work.key;
    });
}

Seq MachineAssembly::sound_before(const SegmentWork& work) const {
    const auto disk = disks_.find(work.key.disk);
    const bool same = disk != disks_.end() && disk->second.generation == work.key.generation;
    Seq sound = same ? std::max(work.after, disk->second.committed) : work.after;
    for (const Entry& entry : steps_) {
        if (entry.id < work.step && entry.key == work.key && !entry.abandoned) {
            sound = std::max(sound, entry.seq);
        }
    }
    return sound;
}

std::vector<std::unique_ptr<SegmentWork>> MachineAssembly::lose(SegmentWork& work) {
    const bool already_repaired = repaired(work);
    work.phase = SegmentPhase::lost;
    const pipeline::StreamKey key = work.key;
    const StepId from = work.step;
    Disk& disk = disks_[key.disk];
    if (disk.generation == key.generation && !already_repaired) {
        seal_disk(disk);  // What is open until now lies behind the damage too.
        disk.assembled = sound_before(work);
        disk.damaged = true;
        disk.repair_session = SessionId{};
    }
    std::vector<std::unique_ptr<SegmentWork>> retired;
    for (Entry& entry : steps_) {
        if (entry.id < from || entry.key.disk != key.disk ||
            entry.key.generation != key.generation || entry.kind == StepKind::generation) {
            continue;
        }
        if (entry.repairs) {
            break;  // The ledger takes this one and what follows for sound, too.
        }
        entry.abandoned = true;
        if (entry.segment != nullptr) {
            hold_segment(*entry.segment, entry.records);
            retired.push_back(retire(entry));
        }
    }
    return retired;
}

SegmentWork* MachineAssembly::next_queued(Nanos now) const {
    return !queue_.empty() && queue_.front()->not_before <= now ? queue_.front() : nullptr;
}

Nanos MachineAssembly::next_start() const {
    return queue_.empty() ? Nanos{INT64_MAX} : queue_.front()->not_before;
}

void MachineAssembly::take_queued(SegmentWork& work) {
    CW_ASSERT(!queue_.empty() && queue_.front() == &work && work.phase == SegmentPhase::queued);
    queue_.pop_front();
}

void MachineAssembly::requeue(SegmentWork& work) {
    CW_ASSERT(find(work.step) == &work);
    work.phase = SegmentPhase::queued;
    work.drop_object();
    const auto at = std::ranges::find_if(
        queue_, [&work](const SegmentWork* other) { return other->step > work.step; });
    queue_.insert(at, &work);
}

SegmentWork* MachineAssembly::find(StepId step) const {
    if (steps_.empty() || step < steps_.front().id || step > steps_.back().id) {
        return nullptr;
    }
    const Entry& entry = steps_[raw(step) - raw(steps_.front().id)];
    CW_ASSERT(entry.id == step);
    return entry.segment.get();
}

std::size_t MachineAssembly::shed_payload(std::size_t slabs_wanted) {
    std::size_t shed = 0;
    const auto drop = [&shed](SegmentWork& work) {
        if (!work.dropped && !work.payload.empty()) {
            shed += work.slabs;
            work.drop_payload();
        }
    };
    for (auto& [id, disk] : disks_) {
        for (const std::unique_ptr<SegmentWork>* open : {&disk.writes, &disk.base}) {
            if (*open != nullptr && shed < slabs_wanted) {
                drop(**open);
            }
        }
    }
    for (auto at = queue_.rbegin(); at != queue_.rend() && shed < slabs_wanted; ++at) {
        drop(**at);
    }
    return shed;
}

// What the agent counted beneath the fence is here or in the vault. A point over a hole must never
// be made, whoever lost what it was.
bool MachineAssembly::base_complete(const Disk& disk, std::uint32_t super_chunks) {
    std::uint32_t held = 0;
    for (std::size_t i = 0; i < std::max(disk.base_done.size(), disk.base_taken.size()); ++i) {
        const std::byte done = i < disk.base_done.size() ? disk.base_done[i] : std::byte{0};
        const std::byte taken = i < disk.base_taken.size() ? disk.base_taken[i] : std::byte{0};
        held += static_cast<std::uint32_t>(std::popcount(std::to_integer<unsigned>(done | taken)));
    }
    return held >= super_chunks;
}

void MachineAssembly::report_gap(Disk& disk, const pipeline::StoredRecord& stored) {
    const bool fence = stored.record.header.type == pipeline::RecordType::resync_begin;
    report_damage(disk, stored, next(disk.assembled),
                  fence
                      ? "a fence continues another end of the history: records are missing in the "
                        "cache, or another server published meanwhile"
                      : "records are missing in the cache");
}

// `first`: what is lost reaches from there to before the record, or is beneath the record itself.
void MachineAssembly::report_damage(Disk& disk, const pipeline::StoredRecord& stored, Seq first,
                                    std::string_view evidence) {
    const pipeline::RecordHeader& header = stored.record.header;
    disk.damaged = true;
    disk.repair_session = SessionId{};
    host_.disk_damaged(machine_, opening_,
                       {.key = header.key,
                        .first = first,
                        .last = std::max(first, Seq{raw(header.seq) - 1}),
                        .evidence = std::string(evidence),
                        .sound = disk.assembled});
    skip(disk, waiting_of(stored));
}

void MachineAssembly::skip(Disk& disk, const Waiting& waiting) {
    disk.skipped.push_back(waiting);
    host_.set_aside(1);
}

}  // namespace cw::upload
