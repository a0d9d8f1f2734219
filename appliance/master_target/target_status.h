// TargetStatus: what a master target says of one disk it writes. A value.
#pragma once

#include "base/error.h"
#include "base/ids.h"
#include "egress/volume/volume_state.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// A merge of a point, or the switch.
struct TargetWork {
    enum class What : std::uint8_t { none, merging, switching };
    What what = What::none;
    std::uint64_t done_bytes = 0, total_bytes = 0;
    double bytes_per_s = 0, eta_s = -1;  // -1: not known yet.
};

struct TargetStatus {
    MachineId machine;
    std::string disk;  // As configured: UUID or name.
    std::string path, identity, work_directory;
    std::uint64_t size_bytes = 0;
    volume::Phase phase = volume::Phase::collecting;
    std::optional<volume::HeldPoint> point;  // What a switch would make of the target.
    std::vector<volume::HeldPoint> earlier;  // Kept: can be switched to as well. Newest first.
    Generation generation{};
    Seq received{}, committed{};    // In that generation; committed: of the held point.
    bool resync_open = false;       // Initial sync or resync is under way: no points meanwhile.
    std::uint64_t taken_bytes = 0;  // Payload that travelled, since this daemon started.
    // 64 KiB blocks whose digest was told, alone or in a summary, since then; who is told both ways
    // counts twice.
    std::uint64_t blocks_compared = 0;
    TargetWork work;
    std::optional<Error> trouble;  // Why nothing is taken at the moment.
};

}  // namespace cw::appliance
