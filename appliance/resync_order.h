// POST /v1/resync: what shall be compared, and from when on.
#pragma once

#include "appliance/resync_window.h"
#include "base/clock.h"
#include "base/error.h"

#include <string>
#include <string_view>

namespace cw::appliance {

struct ResyncOrder {
    std::string subject;  // A machine's id, or a disk's.
    WallMicros at;        // Not before.
};

// {"subject": …} with {"at_us": microseconds since 1970}, {"now": true} or neither: as `window`
// allows. Any thread. Errors: usage (also a time after the year 9999).
Result<ResyncOrder> parse_resync_order(std::string_view body, const ResyncWindow& window,
                                       Clock& clock);

}  // namespace cw::appliance
