// Where a disk may differ between two points that its target could become: what the merges between
// them have overwritten, as their undo logs tell. The content is not read.
#pragma once

#include "base/disk.h"
#include "base/ids.h"

#include <string>
#include <vector>

namespace cw::volume {

struct ChangedRange {
    std::uint64_t offset = 0, length = 0;
};

// In either order; ascending and apart from each other, in 4 KiB blocks but for the disk's end.
// Both points are held by the caller's PointViews while this runs. Errors: point_not_found (of a
// point, or a log in between is gone), record_corrupt, io_error.
Result<std::vector<ChangedRange>> changes_between(Disk& disk, const std::string& work_directory,
                                                  const PointId& one, const PointId& other);

}  // namespace cw::volume
