// TargetStatus: what a master target says of one disk it writes. A value.
#pragma once

#include "base/error.h"
#include "base/ids.h"
#include "egress/volume/volume_state.h"

#include <optional>
#include <string>

namespace cw::appliance {

struct TargetStatus {
    MachineId machine;
    std::string disk;  // As configured: UUID or name.
    std::string path, identity;
    std::uint64_t size_bytes = 0;
    volume::Phase phase = volume::Phase::collecting;
    std::optional<volume::HeldPoint> point;  // What a switch would make of the target.
    Generation generation{};
    Seq received{}, committed{};   // In that generation; committed: of the held point.
    bool resync_open = false;      // Initial sync or resync is under way: no points meanwhile.
    std::optional<Error> trouble;  // Why nothing is taken at the moment.
};

}  // namespace cw::appliance
