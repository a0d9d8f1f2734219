// What VolumeWriter notes for people and groups; none of it changes what the disk is at a point.
#include "base/crash_point.h"
#include "egress/volume/volume_writer.h"

#include <algorithm>

namespace cw::volume {

Result<void> VolumeWriter::name_machine(const std::string& name) {
    CW_ASSERT(name.size() <= machine_name_bytes_max);
    if (name == state_.machine_name) {
        return {};
    }
    VolumeState after = state_;
    after.machine_name = name;
    return set_state(std::move(after));
}

// A group's point that is not decided, or revoked, is one of its machine alone. So only a commit is
// kept: in the held point, from where the next undo log has it; of a kept one, whose undo log is
// written already and is not written again, beside it.
Result<void> VolumeWriter::take_point_result(const pipeline::Record& record) {
    CW_TRY_ASSIGN(const auto result, pipeline::decode_point_result(record.table.bytes()));
    const auto waits = [&](const HeldPoint& point) {
        return point.id == result.id && point.group == result.group && point.provisional;
    };
    if (!result.committed || result.group.is_nil()) {
        return {};
    }
    VolumeState after = state_;
    if (after.point && waits(*after.point)) {
        after.point->provisional = false;
    } else if (std::ranges::any_of(kept_points(), waits, &KeptPoint::point) &&
               std::ranges::find(after.decided, result.id) == after.decided.end()) {
        if (after.decided.size() == decided_points_max) {
            after.decided.erase(after.decided.begin());
        }
        after.decided.push_back(result.id);
    } else {
        return {};
    }
    CW_CRASH_POINT("volume.group_decided");
    return set_state(std::move(after));
}

// Of points that cannot be returned to any more.
void VolumeWriter::forget_decisions(VolumeState& state) const {
    std::erase_if(state.decided, [this](const PointId& id) {
        return std::ranges::none_of(kept_points(),
                                    [&](const KeptPoint& kept) { return kept.point.id == id; });
    });
}

}  // namespace cw::volume
