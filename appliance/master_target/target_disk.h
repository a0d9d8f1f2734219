// TargetDisk: one [[target]] of a master target: its VolumeWriter, and what must be known around it
// to keep the stream honest: is what arrives the continuation of what was taken, and if not, what
// the agent must send again.
//
// A record that cannot be taken makes the disk *damaged*: everything after it is dropped until a
// fence repairs it, and the next HELLO is answered with catch-up or a new history. A device that
// fails is closed and tried again later. Both stand as conditions. Other disks go on.
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "appliance/master_target/stream_repair.h"
#include "appliance/master_target/target_file.h"
#include "appliance/master_target/target_status.h"
#include "appliance/master_target/work_meter.h"
#include "appliance/standing_trouble.h"
#include "base/clock.h"
#include "base/conditions.h"
#include "egress/upload/ports.h"
#include "egress/volume/volume_writer.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

class TargetDisk {
public:
    TargetDisk(TargetOptions options, volume::VolumeWriter::Context context, Conditions& conditions)
        : options_(std::move(options)),
          context_(context),
          conditions_(conditions),
          repair_(conditions, subject()),
          touched_(conditions, subject()) {}

    // Opens or resumes, unless it is open. A disk named by its name is first opened when its id is
    // known: from an earlier run, or from HELLO. False: it failed, see trouble(); try again later.
    bool open();
    [[nodiscard]] const TargetOptions& options() const noexcept { return options_; }
    [[nodiscard]] bool is_for(const MachineId& machine, const DiskId& disk) const noexcept {
        return machine == options_.machine && id_ == disk;
    }
    [[nodiscard]] const std::optional<Error>& trouble() const noexcept { return trouble_; }
    [[nodiscard]] bool switching() const noexcept { return writer_ && writer_->switching(); }
    [[nodiscard]] bool merging() const noexcept { return writer_ && writer_->merging(); }

    // Whether HELLO's disk is this one; learns the id of a disk known by name.
    bool meets(const MachineId& machine, const pipeline::DiskHello& hello);
    pipeline::DiskWelcome welcome(const pipeline::DiskHello& hello,
                                  const std::vector<upload::StreamWatermark>& streams,
                                  SessionId session);

    // Everything but points. False: the disk became damaged by this; end the machine's session.
    bool take(const pipeline::Record& record);
    // The cache lost this record of it: damaged, until a fence repairs that.
    void lose(const pipeline::RecordHeader& header, const std::string& evidence);
    // What take_point() would do: `taken` with it, `old` news, or not possible.
    enum class PointFit : std::uint8_t { fits, held, old };
    Result<PointFit> fits(const PointId& id, const pipeline::DiskCut& cut);
    // After fits() said so. The overlay holds the point when merging() has ended.
    Result<void> take_point(const pipeline::Record& record);
    // A piece of the merge. A failure closes the target; the next open() begins the merge anew.
    void merge_some(std::uint64_t budget_bytes, Nanos now);
    // A group's point is decided. One that is not held here is no error; nor is a target that is
    // not open: the point is then one of its machine alone.
    void take_point_result(const pipeline::Record& record);
    // What its agent calls the machine.
    void name_machine(const std::string& name);
    // Everything taken is on stable storage; false as in take().
    bool sync();

    // An operator's word. Errors: those of VolumeWriter, and of trouble().
    Result<void> begin_switch(const PointId& point);
    Result<void> cancel();
    // A piece of the switch. A failure closes the target; the next open() resumes.
    void apply_some(std::uint64_t budget_bytes, Nanos now);

    // Everything before this fence, and the fence, were taken; it has not ended.
    [[nodiscard]] bool holds_fence(Generation generation, Seq fence) const {
        return writer_ && !repair_.damaged() && raw(fence) != 0 &&
               writer_->generation() == generation && writer_->open_fence() == fence;
    }
    // As VolumeWriter::digests(). Only while holds_fence().
    Result<std::vector<std::optional<Fingerprint>>> digests(std::uint64_t first_block,
                                                            std::uint32_t count,
                                                            const FingerprintSecret& secret);

    [[nodiscard]] const std::optional<volume::HeldPoint>& point() const;
    // What it can become, newest first: the held point and those before it.
    [[nodiscard]] std::vector<PointId> held_points() const;
    // What it holds is not known now: it is not open, or a merge is under way.
    [[nodiscard]] bool unsettled() const noexcept { return trouble_.has_value() || merging(); }
    [[nodiscard]] const std::optional<DiskId>& id() const noexcept { return id_; }
    [[nodiscard]] Generation generation() const {
        return writer_ ? writer_->generation() : Generation{};
    }
    // Of the current generation.
    [[nodiscard]] Seq committed() const;
    [[nodiscard]] TargetStatus status() const;

private:
    // As DISK_FULL says who needs room in the work directory.
    static constexpr std::string_view writer_of_work = "this target";

    // target_disk_open.cc
    Result<void> try_open();
    Result<void> clear_left_over();
    void show_trouble(std::optional<Error> now);
    // target_disk.cc
    Result<void> look_untouched();
    bool failed(const Error& error);
    [[nodiscard]] TargetWork work() const;
    [[nodiscard]] bool may_begin_fence(const pipeline::RecordHeader& header) const;
    [[nodiscard]] std::string subject() const { return "target " + options_.path; }

    const TargetOptions options_;
    volume::VolumeWriter::Context context_;
    Conditions& conditions_;
    std::unique_ptr<volume::VolumeWriter> writer_;
    std::optional<DiskId> id_;
    std::string identity_;
    std::uint64_t size_bytes_ = 0;
    std::optional<Error> trouble_;  // Not open, and why.
    StreamRepair repair_;
    bool unsynced_ = false;
    // Somebody else wrote to the target, or it is away: shown until a point finds it as it was, or
    // what was collected is given up.
    StandingTrouble touched_;
    bool cleared_ = false;  // While it waits for its id: nothing of an earlier life is left.
    std::uint64_t taken_bytes_ = 0, blocks_compared_ = 0;
    WorkMeter meter_;  // Of the merge or switch under way.
};

}  // namespace cw::appliance
