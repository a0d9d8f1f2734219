#include "appliance/master_target/target_disk.h"

#include "base/crash_point.h"
#include "base/full_disk.h"
#include "base/log.h"
#include "ingest/wire/messages.h"
#include "pipeline/fence.h"

#include <algorithm>
#include <utility>

namespace cw::appliance {
namespace {

using pipeline::RecordHeader;
using pipeline::RecordType;
using volume::Phase;

// The target or its work directory failed, not the stream.
bool of_device(Errc code) noexcept {
    return code == Errc::io_error || code == Errc::disk_full || code == Errc::record_corrupt ||
           code == Errc::target_unsafe || code == Errc::not_found;
}

}  // namespace

// A fence repairs only what it covers: everything, in a new generation; everything since the held
// point, when the agent was told to catch up. A fence for less must continue where the disk stands.
bool TargetDisk::may_begin_fence(const RecordHeader& header) const {
    using enum wire::ResyncKind;
    const auto kind = static_cast<wire::ResyncKind>(pipeline::resync_kind_of(header));
    if (header.key.generation != writer_->generation()) {
        return kind != catch_up && kind != resume;
    }
    if (kind == resume) {
        return !repair_.damaged() && pipeline::resumes_at(header, writer_->received());
    }
    return repair_.asked(header.session) ||
           (!repair_.damaged() && header.seq <= next(writer_->received()));
}

bool TargetDisk::take(const pipeline::Record& record) {
    const RecordHeader& header = record.header;
    if (writer_ && writer_->phase() != Phase::collecting) {
        return true;  // HELLO is refused: these are from before.
    }
    if (!writer_) {
        return repair_.damaged() ||
               repair_.damage({Errc::resync_required, "the target was not open for writes"});
    }
    if (header.key.generation < writer_->generation()) {
        return true;  // Of a history that is over, given out again after a restart.
    }
    if (header.type == RecordType::resync_begin && may_begin_fence(header)) {
        repair_.repaired();
    } else if (header.type == RecordType::resync_begin &&
               (header.key.generation != writer_->generation() ||
                header.seq > writer_->received())) {
        return repair_.damaged() ||
               repair_.damage({Errc::seq_gap, "a fence that does not cover what is missing"});
    }
    const bool over = header.type == RecordType::base && header.seq <= writer_->received() &&
                      writer_->open_fence() != header.seq;
    if (repair_.damaged() || over) {
        return true;
    }
    if (const auto taken = writer_->take(record); !taken) {
        return failed(taken.error());
    }
    unsynced_ = true;
    taken_bytes_ += header.data_bytes;
    return true;
}

void TargetDisk::lose(const RecordHeader& header, const std::string& evidence) {
    const bool wanted = writer_ && writer_->phase() == Phase::collecting &&
                        header.key.generation >= writer_->generation();
    if (wanted) {
        repair_.damage({Errc::spool_lost_durable, evidence});
    }
}

Result<TargetDisk::PointFit> TargetDisk::fits(const PointId& id, const pipeline::DiskCut& cut) {
    if (!writer_) {
        return std::unexpected(trouble_.value_or(Error{Errc::not_found, "the target is not open"}));
    }
    if (point() && point()->id == id) {
        return PointFit::held;
    }
    if (writer_->phase() != Phase::collecting) {
        return fail(Errc::target_switching, options_.path);
    }
    CW_TRY(look_untouched());
    if (cut.generation < writer_->generation() ||
        (cut.generation == writer_->generation() && cut.cut < writer_->received())) {
        return PointFit::old;
    }
    if (repair_.damaged()) {
        return std::unexpected(*repair_.damaged());
    }
    if (writer_->open_fence()) {
        return fail(Errc::resync_required, "a resync is under way");
    }
    if (cut.generation != writer_->generation() || cut.cut != writer_->received()) {
        repair_.damage({Errc::seq_gap, "a point after sequence " + std::to_string(raw(cut.cut)) +
                                           ", received are " +
                                           std::to_string(raw(writer_->received()))});
        return std::unexpected(*repair_.damaged());
    }
    return PointFit::fits;
}

// No point is made over content that somebody else has changed, and people hear of it before they
// need one.
Result<void> TargetDisk::look_untouched() {
    auto untouched = writer_->check_untouched();
    touched_.show(untouched);
    return untouched;
}

Result<void> TargetDisk::take_point(const pipeline::Record& record) {
    CW_ASSERT(writer_ != nullptr);
    auto taken = writer_->take(record);
    if (!taken) {
        failed(taken.error());
        return taken;
    }
    unsynced_ = false;  // The point's own sync covers everything.
    return {};
}

void TargetDisk::take_point_result(const pipeline::Record& record) {
    if (!writer_ || writer_->phase() != Phase::collecting) {
        return;
    }
    CW_ASSERT(!merging());
    if (const auto taken = writer_->take(record); !taken) {
        log_warning("target.group_undecided", {{"path", options_.path}, {"error", taken.error()}});
    }
}

// For people only: a target that cannot note it collects all the same.
void TargetDisk::name_machine(const std::string& name) {
    if (!writer_ || name.size() > volume::machine_name_bytes_max) {
        return;
    }
    if (const auto named = writer_->name_machine(name); !named) {
        log_warning("target.name", {{"path", options_.path}, {"error", named.error()}});
    }
}

void TargetDisk::merge_some(std::uint64_t budget_bytes, Nanos now) {
    CW_ASSERT(merging());
    meter_.note_piece(now);
    const auto merged = writer_->merge_some(budget_bytes);
    if (!merged) {
        failed(merged.error());
    }
    if (!merging()) {
        meter_.end();
    }
}

Result<std::vector<std::optional<Fingerprint>>> TargetDisk::digests(
    std::uint64_t first_block, std::uint32_t count, const FingerprintSecret& secret) {
    CW_ASSERT(writer_ != nullptr);
    auto digests = writer_->digests(first_block, count, secret);
    if (digests) {
        blocks_compared_ += static_cast<std::uint64_t>(
            std::ranges::count_if(*digests, [](const auto& one) { return one.has_value(); }));
    }
    return digests;
}

bool TargetDisk::sync() {
    if (!unsynced_ || !writer_) {
        return true;
    }
    unsynced_ = false;
    const auto synced = writer_->sync();
    return synced || failed(synced.error());
}

bool TargetDisk::failed(const Error& error) {
    if (of_device(error.code)) {
        // A switch has named the target's; all else is written beside it.
        show_trouble(name_full_disk(error, options_.work_directory, writer_of_work));
        writer_.reset();
        unsynced_ = false;
        log_error("target.failed", {{"path", options_.path}, {"error", *trouble_}});
        return repair_.damage(
            {Errc::resync_required, "the target failed: " + to_string(*trouble_)});
    }
    return repair_.damage(error);
}

Result<void> TargetDisk::begin_switch(const PointId& point) {
    if (!writer_) {
        return std::unexpected(
            trouble_.value_or(Error{Errc::point_not_found, "nothing was taken"}));
    }
    CW_ASSERT(!merging());
    const auto begun = writer_->begin_switch(point);
    if (begun) {
        touched_.show({});  // It looked, too.
    }
    if (!begun && writer_->switching()) {
        failed(begun.error());  // It is decided all the same: the next open() resumes.
    }
    CW_CRASH_POINT("target.switched");
    unsynced_ = unsynced_ && !switching();
    return begun;
}

Result<void> TargetDisk::cancel() {
    if (!writer_) {
        return std::unexpected(trouble_.value_or(Error{Errc::not_found, "nothing was taken"}));
    }
    const auto cancelled = writer_->cancel();
    unsynced_ = false;
    if (!cancelled && of_device(cancelled.error().code)) {
        failed(cancelled.error());
    } else if (cancelled) {
        touched_.show({});
        repair_.damage({Errc::resync_required, "what was collected was cancelled by an operator"});
    }
    return cancelled;
}

void TargetDisk::apply_some(std::uint64_t budget_bytes, Nanos now) {
    CW_ASSERT(switching());
    meter_.note_piece(now);
    const auto complete = writer_->apply_some(budget_bytes);
    if (!complete) {
        failed(complete.error());
    } else if (*complete) {
        log_info("target.done", {{"path", options_.path}, {"point", point()->id}});
    }
    if (!switching()) {
        meter_.end();
    }
}

TargetWork TargetDisk::work() const {
    if (!merging() && !switching()) {
        return {};
    }
    const volume::VolumeWork done = writer_->work();
    return meter_.measure(merging() ? TargetWork::What::merging : TargetWork::What::switching,
                          done.done_bytes, done.total_bytes);
}

const std::optional<volume::HeldPoint>& TargetDisk::point() const {
    static const std::optional<volume::HeldPoint> none;
    return writer_ ? writer_->point() : none;
}

std::vector<PointId> TargetDisk::held_points() const {
    std::vector<PointId> out;
    if (point()) {
        out.push_back(point()->id);
        std::ranges::transform(writer_->kept_points(), std::back_inserter(out),
                               [](const volume::KeptPoint& kept) { return kept.point.id; });
    }
    return out;
}

Seq TargetDisk::committed() const {
    return point() && point()->generation == writer_->generation() ? point()->cut : Seq{};
}

TargetStatus TargetDisk::status() const {
    TargetStatus out;
    out.machine = options_.machine;
    out.disk = options_.disk;
    out.path = options_.path;
    out.identity = identity_;
    out.work_directory = options_.work_directory;
    out.size_bytes = size_bytes_;
    out.point = point();
    out.taken_bytes = taken_bytes_;
    out.blocks_compared = blocks_compared_;
    out.trouble = trouble_ ? trouble_ : repair_.damaged();
    if (writer_) {
        out.phase = writer_->phase();
        out.generation = writer_->generation();
        out.received = writer_->received();
        out.committed = committed();
        out.resync_open = writer_->open_fence().has_value();
        for (const volume::KeptPoint& kept : writer_->kept_points()) {
            out.earlier.push_back(kept.point);
        }
        out.work = work();
    }
    return out;
}

}  // namespace cw::appliance
