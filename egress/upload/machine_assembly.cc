#include "egress/upload/machine_assembly.h"

#include "base/assert.h"
#include "base/log.h"
#include "pipeline/fence.h"

#include <algorithm>

namespace cw::upload {
namespace {

using pipeline::RecordType;
using pipeline::StoredRecord;

bool bit_set(const ByteVector& bitmap, std::uint32_t index) noexcept {
    const std::size_t at = index / 8;
    return at < bitmap.size() && (std::to_integer<unsigned>(bitmap[at]) >> (index % 8) & 1U) != 0;
}

void set_bit(ByteVector& bitmap, std::uint32_t index) {
    bitmap.resize(std::max<std::size_t>(bitmap.size(), index / 8 + 1));
    bitmap[index / 8] |= std::byte{1} << (index % 8);
}

}  // namespace

// The backlog's bound (EngineOptions::backlog_records) counts on it.
static_assert(sizeof(HeldRecord) <= 56);

MachineAssembly::MachineAssembly(const MachineId& machine, AssemblyHost& host)
    : machine_(machine), host_(host) {}

MachineAssembly::Waiting MachineAssembly::waiting_of(const StoredRecord& stored) {
    const pipeline::RecordHeader& header = stored.record.header;
    return {.key = header.key, .type = header.type, .held = HeldRecord::of(stored.lsn, header)};
}

void MachineAssembly::take(StoredRecord stored) {
    CW_ASSERT(stored.record.header.key.machine == machine_);
    ++backlog_records_;
    backlog_bytes_ += stored.record.header.data_bytes;
    if (active_ && held_.empty() && !reading_) {
        process(std::move(stored));
    } else {
        held_.push_back(waiting_of(stored));
    }
}

void MachineAssembly::pump() {
    while (active_ && !reading_ && !held_.empty()) {
        const Waiting waiting = held_.front();
        held_.pop_front();
        StoredRecord stored;
        stored.lsn = waiting.held.lsn;
        stored.record.header = waiting.held.header(waiting.key, waiting.type);
        process(std::move(stored));
    }
}

void MachineAssembly::payload_read(StoredRecord record, Result<void> outcome) {
    if (!reading_ || reading_->held.lsn != record.lsn) {
        return;  // Asked for by an earlier opening.
    }
    const Waiting waiting = *reading_;
    reading_.reset();
    if (outcome) {
        process(std::move(record));
    } else {
        // Which point it was is lost with it; the next one takes its place.
        host_.disk_damaged(machine_, opening_,
                           {.key = waiting.key,
                            .first = waiting.held.seq,
                            .last = waiting.held.seq,
                            .evidence = "barrier record: " + outcome.error().detail});
        release(waiting.held);
    }
    pump();
}

void MachineAssembly::open(const MachineReady& ready) {
    CW_ASSERT(!active_ && steps_.empty() && !any_open());
    active_ = true;
    opening_ = ready.opening;
    keys_ = ready.keys;
    next_step_ = 1;
    disks_.clear();
    for (const auto& [id, position] : ready.disks) {
        Disk& disk = disks_[id];
        disk.generation = position.generation;
        disk.committed = disk.assembled = position.committed;
        disk.fence = position.fence;
        disk.base_done = position.base_done;
    }
    pump();
}

void MachineAssembly::process(StoredRecord stored) {
    const RecordType type = stored.record.header.type;
    if (type == RecordType::point || type == RecordType::point_result) {
        if (stored.record.table.empty() && stored.record.header.table_bytes > 0) {
            reading_ = waiting_of(stored);
            host_.read_control(machine_, std::move(stored));
            return;
        }
        type == RecordType::point ? take_point(stored) : take_point_result(stored);
        return;
    }
    Disk* const disk = type == RecordType::flush ? nullptr : disk_of(stored);
    if (disk == nullptr) {
        // A flush says nothing to the vault; an older history was replaced by a newer one.
        release(HeldRecord::of(stored.lsn, stored.record.header));
        return;
    }
    if (type == RecordType::write) {
        take_write(std::move(stored), *disk);
    } else if (type == RecordType::base) {
        take_base(std::move(stored), *disk);
    } else {
        take_control(stored, *disk);
    }
}

MachineAssembly::Disk* MachineAssembly::disk_of(const StoredRecord& stored) {
    const pipeline::StreamKey& key = stored.record.header.key;
    Disk& disk = disks_[key.disk];
    if (key.generation < disk.generation) {
        return nullptr;
    }
    if (key.generation > disk.generation) {
        seal_disk(disk);
        disk.generation = key.generation;
        disk.committed = disk.assembled = Seq{};
        disk.fence = Seq{};
        disk.base_done.clear();
        disk.base_taken.clear();
        disk.damaged = false;
        Step step = step_of(StepKind::generation, stored);
        step.seq = Seq{};
        step.size_bytes = pipeline::disk_size_of(stored.record.header);
        send_step(std::move(step), std::nullopt);
    }
    return &disk;
}

void MachineAssembly::take_write(StoredRecord stored, Disk& disk) {
    const pipeline::RecordHeader& header = stored.record.header;
    const Seq last = advance(header.seq, header.seq_count == 0 ? 0 : header.seq_count - 1);
    if (header.seq_count == 0 || last <= disk.assembled) {
        release(HeldRecord::of(stored.lsn, header));
        return;
    }
    if (disk.damaged) {
        skip(disk, waiting_of(stored));
        return;
    }
    if (header.seq > next(disk.assembled)) {
        report_gap(disk, stored);
        return;
    }
    collect(disk.writes, std::move(stored), disk.assembled);
    disk.assembled = last;
    disk.writes->last = last;
}

void MachineAssembly::take_base(StoredRecord stored, Disk& disk) {
    const pipeline::RecordHeader& header = stored.record.header;
    if (disk.damaged) {
        skip(disk, waiting_of(stored));
        return;
    }
    const bool stale = raw(disk.fence) == 0 || header.seq != disk.fence;
    if (stale || bit_set(disk.base_done, header.ordinal)) {
        release(HeldRecord::of(stored.lsn, header));
        return;
    }
    set_bit(disk.base_taken, header.ordinal);
    collect(disk.base, std::move(stored), disk.fence);
    disk.base->last = disk.fence;
}

void MachineAssembly::take_control(const StoredRecord& stored, Disk& disk) {
    const pipeline::RecordHeader& header = stored.record.header;
    if (header.seq <= disk.assembled) {
        release(HeldRecord::of(stored.lsn, header));
        return;
    }
    const bool begin = header.type == RecordType::resync_begin;
    const bool resumes = begin && pipeline::resync_kind_of(header) == pipeline::resync_kind_resume;
    const bool repairs =
        begin && !resumes && raw(header.session) != 0 && header.session == disk.repair_session;
    if (disk.damaged && !repairs) {
        skip(disk, waiting_of(stored));
        return;
    }
    // A fence may begin above a hole if what is missing lies beneath it as BASE; the one that is to
    // repair the disk was asked for with the vault's end of the history.
    const bool in_place = begin ? repairs || pipeline::covers_above(header, disk.assembled)
                                : header.seq == next(disk.assembled);
    if (!in_place) {
        report_gap(disk, stored);
        return;
    }
    if (header.type == RecordType::resync_end && !base_complete(disk, header.ordinal)) {
        report_damage(disk, stored, header.seq, "super-chunks are missing beneath a fence's end");
        return;
    }
    seal_disk(disk);
    disk.assembled = header.seq;
    StepKind kind = StepKind::resize;
    if (begin) {
        kind = StepKind::fence_begin;
        disk.damaged = false;
        disk.repair_session = repairs ? SessionId{} : disk.repair_session;
        disk.fence = header.seq;
        disk.base_done.clear();
        disk.base_taken.clear();
    } else if (header.type == RecordType::resync_end) {
        kind = StepKind::fence_end;
        disk.fence = Seq{};
        disk.base_done.clear();
        disk.base_taken.clear();
    }
    Step step = step_of(kind, stored);
    step.size_bytes = pipeline::disk_size_of(header);
    step.repairs = repairs;
    send_step(std::move(step), waiting_of(stored));
}

void MachineAssembly::take_point(const StoredRecord& stored) {
    auto point = pipeline::decode_point(stored.record.table.bytes());
    if (!point) {
        log_error("upload.point.malformed", {{"machine", machine_}, {"error", point.error()}});
        release(HeldRecord::of(stored.lsn, stored.record.header));
        return;
    }
    seal_all();  // The barrier: what follows must not share a segment with what came before.
    Step step = step_of(StepKind::point, stored);
    step.point = std::move(*point);
    send_step(std::move(step), waiting_of(stored));
}

void MachineAssembly::take_point_result(const StoredRecord& stored) {
    auto result = pipeline::decode_point_result(stored.record.table.bytes());
    if (!result) {
        log_error("upload.point.malformed", {{"machine", machine_}, {"error", result.error()}});
        release(HeldRecord::of(stored.lsn, stored.record.header));
        return;
    }
    Step step = step_of(StepKind::point_result, stored);
    step.result = *result;
    send_step(std::move(step), waiting_of(stored));
}

Step MachineAssembly::step_of(StepKind kind, const StoredRecord& stored) {
    Step step;
    step.kind = kind;
    step.disk = stored.record.header.key.disk;
    step.generation = stored.record.header.key.generation;
    step.seq = stored.record.header.seq;
    step.assembled = host_.now();
    const bool known =
        stored.record.received > Nanos{0} && stored.record.received <= step.assembled;
    step.received = known ? stored.record.received : step.assembled;
    return step;
}

void MachineAssembly::send_step(Step step, std::optional<Waiting> record,
                                std::unique_ptr<SegmentWork> segment) {
    step.id = StepId{next_step_++};
    if (segment != nullptr) {
        segment->step = step.id;
    }
    steps_.push_back({.id = step.id,
                      .kind = step.kind,
                      .key = {machine_, step.disk, step.generation},
                      .seq = step.seq,
                      .abandoned = false,
                      .repairs = step.repairs,
                      .records = {},
                      .segment = std::move(segment)});
    if (record) {
        steps_.back().records.push_back(*record);
    }
    host_.step_made(machine_, opening_, std::move(step));
}

std::vector<MachineAssembly::DiskState> MachineAssembly::disks() const {
    std::vector<DiskState> out;
    out.reserve(disks_.size());
    for (const auto& [id, disk] : disks_) {
        out.push_back({.disk = id, .assembled = disk.assembled, .damaged = disk.damaged});
    }
    return out;
}

void MachineAssembly::release(const HeldRecord& held) {
    CW_ASSERT(backlog_records_ > 0 && backlog_bytes_ >= held.data_bytes);
    --backlog_records_;
    backlog_bytes_ -= held.data_bytes;
    host_.release(held.lsn);
}

bool MachineAssembly::any_open() const noexcept {
    return std::ranges::any_of(disks_, [](const auto& entry) {
        return entry.second.writes != nullptr || entry.second.base != nullptr;
    });
}

}  // namespace cw::upload
