// The hint of a failback: what was written on either side since the disks were the same.
#pragma once

#include "base/error.h"
#include "recovery/failback.h"

#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

// Lines "OFFSET LENGTH", or what `nbdinfo --map=qemu:dirty-bitmap:NAME --json` prints, of which the
// entries whose type has its lowest bit set are dirty. `name` is for messages. Errors: usage.
Result<std::vector<recovery::ByteRange>> parse_failback_hint(std::string_view text,
                                                             const std::string& name);

}  // namespace cw::appliance
