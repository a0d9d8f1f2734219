// How a target disk is opened, and what it answers the HELLO of its disk.
#include "appliance/master_target/target_disk.h"
#include "appliance/master_target/target_welcome.h"
#include "base/full_disk.h"
#include "base/log.h"

namespace cw::appliance {

using pipeline::DiskAction;
using volume::Phase;

bool TargetDisk::open() {
    if (writer_) {
        return true;
    }
    const auto opened = try_open();
    if (!opened) {
        show_trouble(name_full_disk(opened.error(), options_.work_directory, writer_of_work));
        return false;
    }
    show_trouble(std::nullopt);
    return true;
}

// One at a time: what is in the way now may be something else than what was before.
void TargetDisk::show_trouble(std::optional<Error> now) {
    if (trouble_ && (!now || now->code != trouble_->code)) {
        conditions_.clear(trouble_->code, subject());
    }
    if (now) {
        conditions_.raise(now->code, subject(), now->detail);
    }
    trouble_ = std::move(now);
}

Result<void> TargetDisk::try_open() {
    const std::string state_path = options_.work_directory + "/state";
    CW_TRY_ASSIGN(const bool begun, context_.disk.exists(state_path));
    if (!id_) {
        if (const auto id = parse_id<DiskId>(options_.disk)) {
            id_ = *id;
        } else if (begun) {
            CW_TRY_ASSIGN(const auto state, volume::read_volume_state(context_.disk, state_path));
            id_ = state.disk;
        }
    }
    CW_TRY_ASSIGN(size_bytes_, find_target_size(context_.disk, options_, begun));
    CW_TRY_ASSIGN(identity_, context_.probe.identity(options_.path));
    if (!id_) {
        CW_TRY(context_.probe.check_unused(options_.path));
        return clear_left_over();  // HELLO will tell the id.
    }
    CW_TRY_ASSIGN(writer_, volume::VolumeWriter::open({.work_directory = options_.work_directory,
                                                       .target_path = options_.path,
                                                       .disk = *id_,
                                                       .size_bytes = size_bytes_,
                                                       .expected_identity = options_.identity,
                                                       .retention_us = options_.retention_us},
                                                      context_));
    log_info("target.open", {{"machine", options_.machine},
                             {"disk", *id_},
                             {"path", options_.path},
                             {"phase", volume::name_of(writer_->phase())},
                             {"received", writer_->received()}});
    return {};
}

// A cancel that was killed has forgotten whose it was, and not yet removed it all.
Result<void> TargetDisk::clear_left_over() {
    CW_TRY_ASSIGN(const bool there, context_.disk.exists(options_.work_directory));
    if (there && !cleared_) {
        CW_TRY(volume::clear_work_files(context_.disk, options_.work_directory));
    }
    cleared_ = true;
    return {};
}

bool TargetDisk::meets(const MachineId& machine, const pipeline::DiskHello& hello) {
    if (machine != options_.machine) {
        return false;
    }
    if (id_) {
        return *id_ == hello.disk;
    }
    if (hello.name != options_.disk) {
        return false;
    }
    id_ = hello.disk;
    return true;
}

pipeline::DiskWelcome TargetDisk::welcome(const pipeline::DiskHello& hello,
                                          const std::vector<upload::StreamWatermark>& streams,
                                          SessionId session) {
    if (!open()) {
        return reject_disk(hello, to_string(*trouble_));
    }
    if (writer_->phase() != Phase::collecting) {
        return reject_disk(hello, "the target is " +
                                      std::string(volume::name_of(writer_->phase())) +
                                      ": it takes nothing more");
    }
    if (hello.size_bytes != size_bytes_) {
        return reject_disk(hello, "the disk has " + std::to_string(hello.size_bytes) +
                                      " bytes, the target " + std::to_string(size_bytes_));
    }
    const pipeline::DiskWelcome welcome =
        welcome_target(hello, streams,
                       {.size_bytes = size_bytes_,
                        .generation = writer_->generation(),
                        .committed = committed(),
                        .point = point(),
                        .damaged = repair_.damaged().has_value()});
    if (welcome.action != DiskAction::continue_ && welcome.action != DiskAction::reject) {
        repair_.ask(session);
    }
    return welcome;
}

}  // namespace cw::appliance
