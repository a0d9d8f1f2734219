// Are the points of a work directory whole? Reads what a switch to each of them would read, and
// touches nothing, so that it may run beside the daemon that collects there.
//
//   held     every block of the overlay can be read, and its map is consistent
//   earlier  each undo log on the way back to it is whole: heads, places, checksums of the content
//
// The overlay's content has no checksums of its own: what a disk returns wrongly without an error
// is not seen here. What is given up or merged meanwhile is looked at as it is then.
#pragma once

#include "base/disk.h"
#include "egress/volume/volume_state.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::volume {

struct PointCheck {
    HeldPoint point;
    std::uint64_t read_bytes = 0;  // For this point alone.
    std::optional<Error> trouble;  // Of it, or of a later point on the way back to it.
};

// Newest first; empty: no point is held yet, or the target is done. Blocking.
// Errors: record_corrupt (the state is damaged), io_error, not_found (no work directory).
Result<std::vector<PointCheck>> check_points(Disk& disk, const std::string& work_directory);

}  // namespace cw::volume
