// A disk that leaves its machine for a while.
#include "tests/sim/machine.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

namespace cw::sim {

void Machine::change_disks() {
    to_change_ = true;
    random_->below(2) == 0 ? stop_cleanly() : kill(false);
}

void Machine::draw_disks() {
    const bool change = std::exchange(to_change_, false);
    came_back_ = away_ && (change || world_.calm());
    if (came_back_) {
        away_ = false;
        unanswered_ = true;
        world_.event("agent.disk_back", index_);
        world_.trace.count("fault.disk_back");
    } else if (change && !away_) {
        const DiskId disk = disk_id(images_.size() - 1);
        away_ = true;
        missed_point_ = unanswered_ = false;
        in_point_ = std::ranges::any_of(*points_, [&](const auto& point) {
            return point.second.contains(disk) &&
                   world_.oracles->points.committed(id_, point.first);
        });
        world_.event("agent.disk_left_out", index_);
        world_.trace.count("fault.disk_left_out");
    }
}

void Machine::on_answered(const pipeline::MachineOpened& opened) {
    if (!unanswered_ || opened.refused || opened.machine != id_) {
        return;
    }
    const DiskId disk = disk_id(images_.size() - 1);
    for (const pipeline::DiskWelcome& answer : opened.disks) {
        if (answer.disk != disk || answer.action == pipeline::DiskAction::reject) {
            continue;
        }
        unanswered_ = false;
        if (answer.action == pipeline::DiskAction::resync && missed_point_) {
            world_.trace.count("seen.disk_back_compared");
        } else if (answer.action == pipeline::DiskAction::initial && in_point_) {
            world_.trace.count("seen.disk_back_after_it_was_retired");
        }
    }
}

}  // namespace cw::sim
