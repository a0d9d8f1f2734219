// Waiting on the main thread, where draining is its only business.
#pragma once

#include "base/clock.h"

#include <poll.h>

namespace cw::appliance {

// True when `done()` held before the deadline.
bool wait_until(Clock& clock, Nanos deadline, const auto& done) {
    while (!done()) {
        if (clock.boot() - deadline >= 0) {
            return false;
        }
        ::poll(nullptr, 0, 5);
    }
    return true;
}

}  // namespace cw::appliance
