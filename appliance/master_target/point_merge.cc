#include "appliance/master_target/point_merge.h"

#include "base/assert.h"
#include "base/log.h"

#include <utility>

namespace cw::appliance {
namespace {

using pipeline::PointState;
using pipeline::PointStatus;

constexpr std::uint64_t piece_bytes = 16 * mib;  // Of a merge, per step.

void note_progress(pipeline::Committed& out, const TargetDisk& target) {
    if (target.id() && raw(target.committed()) > 0) {
        out.disks.push_back({.disk = *target.id(),
                             .generation = target.generation(),
                             .committed = target.committed(),
                             .fence = {},
                             .base_ordinals = {}});
    }
}

}  // namespace

std::vector<PointStatus> committed_statuses(const TargetSet& targets, const MachineId& machine) {
    std::vector<PointStatus> out;
    for (const PointId& id : targets.committed_points(machine, VolumeOutbox::points_told_max)) {
        out.push_back(
            {.id = id, .state = PointState::committed, .manifest_number = 0, .reason = {}});
    }
    return out;
}

void PointMerge::take(const pipeline::Record& record) {
    CW_ASSERT(!busy());
    const MachineId& machine = record.header.key.machine;
    const auto point = pipeline::decode_point(record.table.bytes());
    if (!point) {
        log_warning("target.point.malformed", {{"machine", machine}});
        return;
    }
    if (auto status = begin(record, *point)) {
        tell(machine, *point, std::move(*status));
    }
}

// All of the machine's targets or none, as far as can be known before. `durable` means that there
// is nothing new to tell.
std::optional<PointStatus> PointMerge::begin(const pipeline::Record& record,
                                             const pipeline::Point& point) {
    PointStatus status{
        .id = point.id, .state = PointState::dropped, .manifest_number = 0, .reason = {}};
    const MachineId machine = record.header.key.machine;
    std::vector<TargetDisk*> fitting;
    std::size_t held = 0, old = 0;
    for (const pipeline::DiskCut& cut : point.cuts) {
        TargetDisk* const target = targets_.find(machine, cut.disk);
        if (target == nullptr) {
            continue;
        }
        const auto fit = target->fits(point.id, cut);
        if (!fit) {
            status.reason = to_string(fit.error());
            if (fit.error().code == Errc::seq_gap) {
                outbox_.end_session(*target, status.reason);
            }
            return status;
        }
        held += *fit == TargetDisk::PointFit::held ? 1U : 0U;
        old += *fit == TargetDisk::PointFit::old ? 1U : 0U;
        if (*fit == TargetDisk::PointFit::fits) {
            fitting.push_back(target);
        }
    }
    if (old > 0) {
        status.state = PointState::durable;
        return status;
    }
    if (fitting.empty()) {
        status.state = held > 0 ? PointState::committed : status.state;
        status.reason = held > 0 ? "" : "no disk of the machine has a target here";
        return status;
    }
    for (TargetDisk* const target : fitting) {
        if (const auto taken = target->take_point(record); !taken) {
            status.reason = to_string(taken.error());
            outbox_.end_session(*target, status.reason);
            return status;
        }
    }
    point_ = UnderWay{machine, point, std::move(fitting)};
    return std::nullopt;
}

bool PointMerge::step(Nanos now) {
    bool worked = point_.has_value();
    for (const auto& target : targets_.all()) {
        if (target->merging()) {
            if (!point_ || point_->machine != target->options().machine) {
                found_.insert(target->options().machine);
            }
            target->merge_some(piece_bytes, now);
            worked = true;
        }
    }
    if (point_ && !targets_.merging()) {
        finish();
    }
    if (!found_.empty() && !targets_.merging()) {
        tell_found();
    }
    return worked;
}

void PointMerge::finish() {
    PointStatus status{
        .id = point_->point.id, .state = PointState::committed, .manifest_number = 0, .reason = {}};
    for (const TargetDisk* const target : point_->targets) {
        if (!target->point() || target->point()->id != status.id) {
            status.state = PointState::dropped;
            status.reason = target->trouble() ? to_string(*target->trouble()) : "not merged";
            outbox_.end_session(*target, status.reason);
        }
    }
    tell(point_->machine, point_->point, std::move(status));
    point_.reset();
}

// Their records may have been released before the process that took them died: no record will make
// their points be told.
void PointMerge::tell_found() {
    for (const MachineId& machine : std::exchange(found_, {})) {
        pipeline::Committed out;
        out.machine = machine;
        out.points = committed_statuses(targets_, machine);
        for (const auto& target : targets_.all()) {
            if (target->options().machine == machine) {
                note_progress(out, *target);
            }
        }
        if (!out.points.empty()) {
            outbox_.committed(std::move(out));
        }
    }
}

void PointMerge::tell(const MachineId& machine, const pipeline::Point& point, PointStatus status) {
    log_info("target.point", {{"machine", machine},
                              {"point", point.id},
                              {"committed", status.state == PointState::committed},
                              {"reason", status.reason}});
    if (status.state == PointState::durable) {
        return;
    }
    pipeline::Committed out;
    out.machine = machine;
    out.points.push_back(std::move(status));
    for (const pipeline::DiskCut& cut : point.cuts) {
        const TargetDisk* const target = targets_.find(machine, cut.disk);
        if (target != nullptr) {
            note_progress(out, *target);
        }
    }
    outbox_.committed(std::move(out));
}

}  // namespace cw::appliance
