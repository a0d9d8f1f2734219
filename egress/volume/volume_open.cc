// VolumeWriter's start: of nothing, of what an interrupted run left, or of a target that is done.
#include "base/assert.h"
#include "egress/volume/qcow2_image.h"
#include "egress/volume/volume_writer.h"

namespace cw::volume {
namespace {

using pipeline::RecordType;

bool is_device(const std::string& identity) noexcept {
    return identity.starts_with("device ");
}

}  // namespace

Result<std::unique_ptr<VolumeWriter>> VolumeWriter::open(Options options, Context context) {
    CW_ASSERT(options.size_bytes > 0 && options.size_bytes % sector_bytes == 0);
    std::unique_ptr<VolumeWriter> writer(new VolumeWriter(std::move(options), context));
    CW_TRY(writer->start());
    if (writer->state_.phase == Phase::collecting && writer->received_ == Seq{}) {
        CW_TRY(writer->check_writable());  // What is collected for hours must have a place to go.
    }
    return writer;
}

Result<void> VolumeWriter::start() {
    CW_TRY(context_.probe.check_unused(options_.target_path, hold_.get()));
    CW_TRY_ASSIGN(const std::string identity, context_.probe.identity(options_.target_path));
    if (!options_.expected_identity.empty() && identity != options_.expected_identity) {
        return fail(Errc::target_unsafe, options_.target_path + " is '" + identity + "', not '" +
                                             options_.expected_identity + "'");
    }
    CW_TRY(context_.disk.create_directories(options_.work_directory));
    CW_TRY(context_.disk.create_directories(path("readers")));  // Ours, whoever reads first.
    CW_TRY_ASSIGN(const bool known, context_.disk.exists(path("state")));
    if (known) {
        CW_TRY_ASSIGN(state_, read_volume_state(context_.disk, path("state")));
        if (state_.disk != options_.disk || state_.size_bytes != options_.size_bytes ||
            state_.target_identity != identity) {
            return fail(Errc::target_unsafe,
                        options_.work_directory + " was begun for another disk or target");
        }
    } else {
        state_ = {.disk = options_.disk,
                  .size_bytes = options_.size_bytes,
                  .target_path = options_.target_path,
                  .target_identity = identity,
                  .point = {},
                  .machine_name = state_.machine_name};  // As before a cancel.
        CW_TRY(clear_work_files(context_.disk, options_.work_directory));
    }
    CW_TRY(take_hold());
    if (!known) {
        CW_TRY(write_volume_state(context_.disk, path("state"), state_));
    }
    CW_TRY(open_target());
    if (state_.phase == Phase::done) {
        // A kill right after the last word may have left them.
        return clear_work_files(context_.disk, options_.work_directory);
    }
    CW_TRY_ASSIGN(history_,
                  PointHistory::open(context_.disk, options_.work_directory, state_.log_number));
    CW_TRY_ASSIGN(overlay_, Overlay::open(context_.disk, path("overlay"), path("overlay.map"),
                                          *target_, options_.size_bytes));
    CW_TRY_ASSIGN(log_, RedoLog::open(context_.disk, path("redo.log"), state_.log_number));
    CW_TRY(context_.disk.sync_directory(options_.work_directory));
    CW_TRY(replay());
    return state_.phase == Phase::collecting ? Result<void>{} : begin_copy();
}

// First nobody else may write to it, then it is noted when somebody last did.
Result<void> VolumeWriter::take_hold() {
    if (state_.phase == Phase::done) {
        hold_.reset();
        return {};
    }
    if (hold_ == nullptr) {
        CW_TRY_ASSIGN(hold_, context_.probe.hold(options_.target_path));
    }
    if (state_.phase == Phase::collecting && state_.target_written_ns == 0) {
        // Of one that was begun by an older program: what was written since is not known.
        CW_TRY_ASSIGN(state_.target_written_ns, context_.probe.written_ns(options_.target_path));
    }
    return {};
}

Result<void> VolumeWriter::check_untouched() const {
    if (state_.target_written_ns == 0 || state_.phase == Phase::switching ||
        state_.phase == Phase::done) {
        return {};
    }
    CW_TRY_ASSIGN(const std::int64_t written, context_.probe.written_ns(options_.target_path));
    return written == state_.target_written_ns
               ? Result<void>{}
               : fail(Errc::target_unsafe,
                      options_.target_path +
                          " was written to by somebody else, so what was collected does not fit "
                          "it any more: give that up and collect anew (causeway target cancel, "
                          "or causeway failback --cancel)");
}

Result<void> VolumeWriter::check_writable() const {
    const auto opened = context_.disk.open(options_.target_path, {.write = true});
    return opened ? Result<void>{}
                  : fail(Errc::target_unsafe, "it cannot be written: " + opened.error().detail);
}

Result<void> VolumeWriter::open_target() {
    target_.reset();
    CW_TRY_ASSIGN(target_, TargetIo::open(context_.disk, options_.target_path,
                                          is_device(state_.target_identity),
                                          state_.phase == Phase::switching));
    if (state_.phase == Phase::collecting) {  // Later it may be half of what it becomes.
        CW_TRY(check_not_qcow2(*target_, options_.target_path, options_.size_bytes));
    }
    if (target_->size() != options_.size_bytes) {
        return fail(Errc::target_unsafe, options_.target_path + " has " +
                                             std::to_string(target_->size()) + " bytes, the disk " +
                                             std::to_string(options_.size_bytes));
    }
    return {};
}

Result<void> VolumeWriter::replay() {
    generation_ = state_.generation;
    received_ = state_.received;
    unsettled_.assign((options_.size_bytes + digest_bytes - 1) / digest_bytes, false);
    CW_TRY_ASSIGN(const auto entries, log_->recover());
    for (const RedoEntry& entry : entries) {
        CW_TRY(note(entry));
        if (entry.header.type == RecordType::point && state_.phase == Phase::collecting) {
            CW_TRY_ASSIGN(const ByteVector payload, log_->table(entry));
            CW_TRY_ASSIGN(const auto point, pipeline::decode_point(payload));
            // The merge was interrupted: it is done again from the start.
            CW_TRY(begin_merge(held_by_merge(point)));
            break;
        }
    }
    if (!merge_ && state_.phase == Phase::collecting) {
        CW_TRY(undo_lost_merge());
    }
    // What recovery has read may still be in the cache only.
    CW_TRY(sync());
    return {};
}

}  // namespace cw::volume
